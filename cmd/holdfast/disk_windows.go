package main

import "golang.org/x/sys/windows"

func free(dir string) int64 {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return -1
	}
	var n uint64
	if err := windows.GetDiskFreeSpaceEx(name, &n, nil, nil); err != nil {
		return -1
	}
	return int64(min(n, 1<<62))
}
