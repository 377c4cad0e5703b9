package jobs

import "reflect"

// NewArgs makes an empty value of the args of a kind, for tools that know the kind only
// when they run: decode into it what [JobInfo.DecodeArgs] or a person gives, and enqueue
// it. It is a pointer to a new value of the type that was registered. ok is false if the
// kind is not registered.
func (r *Registry) NewArgs(kind string) (args Args, ok bool) {
	k := r.kind(kind)
	if k == nil {
		return nil, false
	}
	return k.newArgs(), true
}

// argsMaker makes what makes empty args of type A, which points to element if that is
// not nil. A pointer to a value has the methods of the value.
func argsMaker[A Args](element reflect.Type) func() Args {
	t := reflect.TypeFor[A]()
	if element != nil {
		t = element
	}
	return func() Args { return reflect.New(t).Interface().(Args) }
}
