package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
	"holdfast/internal/heap"
)

// newServe is the command that runs the server against tenants elsewhere.
func newServe() *cobra.Command {
	var path, role, address string
	var check, online, insecure bool
	var logs logOptions
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server for the tenants of a configuration file",
		Long: `Serve runs the Backup Storage API and the workers for the tenants that a
configuration file names, each reached through its own Graph endpoint. It
refuses to start with a list of all that is wrong in the file.

Several servers may run on one PostgreSQL database and one vault. Each does all the
work unless --role says which part: "api" answers requests and leaves backups and
restores to others, "worker" backs up and restores, and answers nothing but
/healthz, /readyz and /metrics. Beside at least one of each, any number of either
may come and go.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usageError{errors.New("serve needs a configuration file: name it with --config")}
			}
			read := func() (Config, error) {
				cfg, err := ReadConfig(path)
				if err != nil {
					return cfg, unusable(path, err)
				}
				if cfg.Role, err = readRole(role, cfg.Database); err != nil {
					return cfg, usageError{err}
				}
				if address != "" {
					if err := checkAddress(address); err != nil {
						return cfg, usageError{fmt.Errorf("--listen %w", err)}
					}
					cfg.Listen, cfg.TLSListen = address, nil
				}
				return cfg, nil
			}
			cfg, err := read()
			if err != nil {
				return err
			}
			if host, _, _ := net.SplitHostPort(cfg.Listen); cfg.Listen != "" && !loopback(host) && !insecure {
				return usageError{fmt.Errorf("%s is reached from other machines, and tokens and backups would pass to them in the clear: serve HTTPS by tlsListen in the file, or say --insecure-http where only a proxy that speaks HTTPS can reach it", cfg.Listen)}
			}
			if check {
				if err := cfg.checkTimes(time.Now()); err != nil {
					return unusable(path, err)
				}
			}
			if check && online {
				return checkOnline(cmd.Context(), cfg, cmd.OutOrStdout())
			}
			if online {
				return usageError{errors.New("--online goes with --check")}
			}
			if check {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is in order.\n", path)
				return err
			}
			return runServe(cmd.Context(), cfg, &rereading{path, read}, cmd.OutOrStdout(), logs.open(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the configuration file, JSON")
	cmd.Flags().BoolVar(&online, "online", false, "with --check, also ask each tenant's Graph and each issuer whether all is well")
	cmd.Flags().StringVar(&role, "role", string(RoleAll), "which part of the work is done: all, api or worker")
	cmd.Flags().StringVar(&address, "listen", "", "listen in plain HTTP at this `ADDRESS` instead of those of the file")
	cmd.Flags().BoolVar(&insecure, "insecure-http", false, "allow plain HTTP at an address that other machines reach")
	cmd.Flags().BoolVar(&check, "check", false, "say whether the file is in order, and start nothing")
	logs.flags(cmd)
	return cmd
}

// readRole reads the role of a process that works on a database.
func readRole(text, database string) (Role, error) {
	text, err := oneOf(text, string(RoleAll), string(RoleAPI), string(RoleWorker))
	switch role := Role(text); {
	case err != nil:
		return "", fmt.Errorf("--role: %w", err)
	case role != RoleAll && strings.HasPrefix(database, "sqlite:"):
		return "", fmt.Errorf("--role %s needs a PostgreSQL database: on SQLite one process does all the work", role)
	default:
		return role, nil
	}
}

// rereading is where the configuration came from, and how it is read again.
type rereading struct {
	path string
	read func() (Config, error)
}

// runServe serves until ctx ends. On SIGHUP, and when the folder of tenants has changed,
// it reads its configuration again, if it has a file.
func runServe(ctx context.Context, cfg Config, again *rereading, out io.Writer, log *slog.Logger) error {
	heap.Bound()
	stop, err := startTraces(ctx, log)
	if err != nil {
		return err
	}
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before the start, which may take long
	defer signal.Stop(hup)
	s, err := startServe(ctx, cfg, again, out, log)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("stopped before it had started")
		return nil
	case err != nil:
		return err
	}
	var following sync.WaitGroup
	if cfg.TenantsDir != "" && again != nil {
		following.Go(func() { s.followFolder(ctx) })
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hup:
			s.reload(ctx) // which says what is wrong
		}
	}
	following.Wait()
	s.drain(context.WithoutCancel(ctx), time.Duration(cfg.Drain))
	log.Info("stopping")
	if err := s.close(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// startServe opens the listeners and sets the server to work, and says on out
// where it listens.
func startServe(ctx context.Context, cfg Config, again *rereading, out io.Writer, log *slog.Logger) (_ *server, err error) {
	type listener struct {
		net.Listener
		secure *tls.Config
	}
	var listeners []listener
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
		}
	}()
	if cfg.Listen != "" {
		l, err := listen(cfg.Listen)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener{l, nil})
	}
	if t := cfg.TLSListen; t != nil {
		certificate, err := openCertificateFile(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, err
		}
		l, err := listen(t.Address)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener{l, certificate.config()})
	}
	s, err := openServer(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	if again != nil {
		s.reading.path, s.reading.read = again.path, again.read
	}
	handler := s.handler(nil)
	for _, l := range listeners {
		scheme := "http"
		if l.secure != nil {
			scheme = "https"
		}
		if cfg.Role == RoleWorker {
			fmt.Fprintf(out, "A worker of Holdfast answers probes on %s/readyz\n", origin(scheme, l))
			s.serve(l, l.secure, handler)
			continue
		}
		fmt.Fprintf(out, "Holdfast listens on %s%s\n", origin(scheme, l), client.Root)
		if cfg.Console != nil {
			fmt.Fprintf(out, "Its web pages are at %s/console/\n", cmp.Or(cfg.PublicURL, origin(scheme, l)))
		}
		s.serve(l, l.secure, handler)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	go s.lookOut(ctx)
	return s, nil
}
