//go:build !linux

package dbtest

import "syscall"

// attributes leaves a process as it is: only Linux ends one with its parent.
func attributes(*syscall.Credential) *syscall.SysProcAttr { return nil }

// serverUser returns nil: the server runs as the present user.
func serverUser() (*syscall.Credential, error) { return nil, nil }
