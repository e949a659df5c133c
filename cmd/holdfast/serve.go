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

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

// newServe is the command that runs the server against tenants elsewhere.
func newServe() *cobra.Command {
	var path string
	var check bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server for the tenants of a configuration file",
		Long: `Serve runs the Backup Storage API and the workers for the tenants that a
configuration file names, each reached through its own Graph endpoint. It
refuses to start with a list of all that is wrong in the file.

Several servers may run on one PostgreSQL database and one vault.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usageError{errors.New("serve needs a configuration file: name it with --config")}
			}
			cfg, err := ReadConfig(path)
			if err != nil {
				return fmt.Errorf("the configuration cannot be used:\n%w", err)
			}
			if check {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is in order.\n", path)
				return err
			}
			return runServe(cmd.Context(), cfg, cmd.OutOrStdout(), newLog(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the configuration file, JSON")
	cmd.Flags().BoolVar(&check, "check", false, "say whether the file is in order, and start nothing")
	return cmd
}

// runServe serves until ctx ends.
func runServe(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) error {
	s, err := startServe(ctx, cfg, out, log)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("stopped before it had started")
		return nil
	case err != nil:
		return err
	}
	<-ctx.Done()
	log.Info("stopping")
	if err := s.close(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// startServe opens the listeners and sets the server to work, and says on out
// where it listens.
func startServe(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) (_ *server, err error) {
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
	handler := s.handler(nil)
	for _, l := range listeners {
		scheme := "http"
		if l.secure != nil {
			scheme = "https"
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
	return s, nil
}
