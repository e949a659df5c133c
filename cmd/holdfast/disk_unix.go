//go:build unix

package main

import "golang.org/x/sys/unix"

func roomOn(dir string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return -1
	}
	return int64(min(uint64(s.Bavail)*uint64(s.Bsize), 1<<62))
}
