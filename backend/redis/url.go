package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

func init() {
	for _, scheme := range []string{"redis", "rediss", "redis+sentinel", "redis+cluster"} {
		backend.Register(scheme, func(rawURL string) (backend.Backend, error) { return Open(rawURL) })
	}
}

// Open makes a backend, and the client for it, from a URL:
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0            over TLS
//	redis+sentinel://user:password@host:26379,host2:26379/master/0
//	redis+cluster://user:password@host:6379,host2:6379
//
// Parameters, after a question mark: namespace; shards, either a number for all
// queues or, as often as wanted, queue:number; timeout, such as 2s; tls (true);
// and for Sentinel sentinel_username and sentinel_password. Open does no I/O.
func Open(rawURL string) (*Backend, error) {
	target, config, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	var client goredis.UniversalClient
	switch {
	case target.cluster:
		client = goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: target.hosts, Username: target.user, Password: target.password, TLSConfig: target.tls,
		})
	case target.master != "":
		client = goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: target.master, SentinelAddrs: target.hosts, DB: target.db,
			Username: target.user, Password: target.password, TLSConfig: target.tls,
			SentinelUsername: target.sentinelUser, SentinelPassword: target.sentinelPassword,
			DialTimeout: dialTimeout,
			// For what Sentinel is asked, while a dial waits: in its time there is
			// a second try when the connection to Sentinel is dead.
			ReadTimeout: dialTimeout / 2,
		})
	default:
		client = goredis.NewClient(&goredis.Options{
			Addr: target.hosts[0], Username: target.user, Password: target.password, DB: target.db, TLSConfig: target.tls,
		})
	}
	b, err := New(client, config)
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	b.owned = client
	return b, nil
}

type target struct {
	cluster                        bool
	hosts                          []string
	master                         string
	db                             int
	user, password                 string
	sentinelUser, sentinelPassword string
	tls                            *tls.Config
}

// parseURL reads a URL by hand, as one that names several hosts is none by the
// standard. No error repeats what is before the last @.
func parseURL(rawURL string) (*target, Config, error) {
	var config Config
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, config, errors.New("it has no ://; write it as redis://host:6379/0")
	}
	t := &target{cluster: scheme == "redis+cluster"}
	sentinel := scheme == "redis+sentinel"
	switch scheme {
	case "redis", "rediss", "redis+sentinel", "redis+cluster":
	default:
		return nil, config, errors.New("its scheme is none of redis, rediss, redis+sentinel and redis+cluster")
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
		var err1, err2 error
		t.user, err1 = url.PathUnescape(user)
		t.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return nil, config, errors.New("the user or password is not well escaped; write a % as %25")
		}
	}
	if strings.Contains(rawQuery, "@") && !strings.Contains(rawURL[:strings.IndexByte(rawURL, '?')], "@") {
		return nil, config, errors.New("it has an @ after the first ?; write a ? in a password as %3F")
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := t.setHosts(hosts, sentinel); err != nil {
		return nil, config, err
	}
	if err := t.setPath(path, sentinel); err != nil {
		return nil, config, err
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, config, errors.New("its parameters are not well escaped")
	}
	secure := scheme == "rediss"
	if err := t.setQuery(query, sentinel, &secure, &config); err != nil {
		return nil, config, err
	}
	if secure {
		host, _, _ := net.SplitHostPort(t.hosts[0])
		t.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		if len(t.hosts) > 1 || sentinel || t.cluster {
			t.tls.ServerName = "" // each connection has its own
		}
	}
	return t, config, nil
}

func (t *target) setHosts(hosts string, sentinel bool) error {
	port := "6379"
	if sentinel {
		port = "26379"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			if strings.Contains(hosts, ",") || sentinel || t.cluster {
				return errors.New("a host is empty; write them as host:port,host:port")
			}
			host = "localhost"
		}
		name, given, err := net.SplitHostPort(host)
		if err != nil {
			name, given = strings.Trim(host, "[]"), port
			if strings.Contains(name, ":") && !strings.HasPrefix(host, "[") {
				return fmt.Errorf("the host %q is not well formed; write host:port, or [address]:port for IPv6", host)
			}
		}
		if n, err := strconv.Atoi(given); err != nil || n < 1 || n > 65535 || name == "" || strings.ContainsAny(name, " \t\r\n") {
			return fmt.Errorf("the host %q is not well formed; write host:port", host)
		}
		t.hosts = append(t.hosts, net.JoinHostPort(name, given))
	}
	if len(t.hosts) > 1 && !sentinel && !t.cluster {
		return errors.New("it names several hosts; use redis+cluster:// for a Cluster and redis+sentinel:// for Sentinel")
	}
	return nil
}

func (t *target) setPath(path string, sentinel bool) error {
	path = strings.TrimSuffix(path, "/")
	if sentinel {
		master, db, _ := strings.Cut(path, "/")
		if master == "" {
			return errors.New("it does not name the master; write redis+sentinel://host:26379/master/0")
		}
		t.master, path = master, db
	}
	if path == "" {
		return nil
	}
	if t.cluster {
		return fmt.Errorf("it has a path, %q; a Cluster has no databases to choose from", path)
	}
	n, err := strconv.Atoi(path)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no number of a database; give one such as 0", path)
	}
	t.db = n
	return nil
}

func (t *target) setQuery(query url.Values, sentinel bool, secure *bool, config *Config) error {
	known := map[string]func(values []string) error{
		"namespace": func(v []string) error { config.Namespace = v[0]; return nil },
		"shards":    func(v []string) error { return setShards(config, v) },
		"timeout": func(v []string) error {
			d, err := time.ParseDuration(v[0])
			if err != nil || d <= 0 {
				return fmt.Errorf("timeout=%s is no positive duration; give one such as 2s", v[0])
			}
			config.Timeout = d
			return nil
		},
		"tls": func(v []string) error {
			on, err := strconv.ParseBool(v[0])
			if err != nil {
				return fmt.Errorf("tls=%s is neither true nor false", v[0])
			}
			*secure = *secure || on
			return nil
		},
	}
	if sentinel {
		known["sentinel_username"] = func(v []string) error { t.sentinelUser = v[0]; return nil }
		known["sentinel_password"] = func(v []string) error { t.sentinelPassword = v[0]; return nil }
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		set, ok := known[name]
		if !ok {
			return fmt.Errorf("there is no parameter %q; known are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if len(query[name]) > 1 && name != "shards" {
			return fmt.Errorf("the parameter %q is given twice", name)
		}
		if err := set(query[name]); err != nil {
			return err
		}
	}
	return nil
}

// setShards reads "8", or "mail:8".
func setShards(config *Config, values []string) error {
	for _, value := range values {
		queue, number, named := strings.Cut(value, ":")
		if !named {
			number = value
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > MaxShards {
			return fmt.Errorf("shards=%s: give a number from 1 to %d, or queue:number", value, MaxShards)
		}
		if !named {
			config.DefaultShards = n
			continue
		}
		if config.Shards == nil {
			config.Shards = map[string]int{}
		}
		config.Shards[queue] = n
	}
	return nil
}
