package dashboard

import "fmt"

// Role is what somebody may do. A higher one may do what a lower one may.
type Role int

const (
	// RoleNone may do nothing, and is refused.
	RoleNone Role = iota
	// RoleView may look at everything but payloads.
	RoleView
	// RoleOperate may retry, run now, copy and cancel jobs, pause and resume queues and
	// schedules, run a schedule now, set and reset limits, have workers be quiet, resume
	// and resize, and see where their handlers are.
	RoleOperate
	// RoleAdmin may delete jobs and stop workers as well, and edit jobs if it may see
	// their payloads.
	RoleAdmin
)

var roles = [...]string{"none", "view", "operate", "admin"}

func (r Role) String() string {
	if r >= RoleNone && int(r) < len(roles) {
		return roles[r]
	}
	return "invalid"
}

// ParseRole reads view, operate or admin.
func ParseRole(name string) (Role, error) {
	for r, known := range roles {
		if known == name && Role(r) != RoleNone {
			return Role(r), nil
		}
	}
	return RoleNone, fmt.Errorf("there is no role %q; there are view, operate and admin", name)
}

// Visitor is who looks at the dashboard.
type Visitor struct {
	// Name is who it is, for the log of acts.
	Name string
	Role Role
}

func (v Visitor) String() string {
	if v.Name == "" {
		return "the visitor"
	}
	return v.Name
}
