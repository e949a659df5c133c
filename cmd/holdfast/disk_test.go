package main

import (
	"strings"
	"testing"
)

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	if err := writable(dir); err != nil {
		t.Error(err)
	}
	if err := writable(dir + "/none"); err == nil || !strings.Contains(err.Error(), "cannot be written to") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if n := free(dir); n <= 0 {
		t.Errorf("%d bytes are free", n)
	}
	defer func() { roomOn = free }()
	roomOn = func(string) int64 { return 150 << 20 }
	if err := writable(dir); err == nil || !strings.Contains(err.Error(), "150 MB at ") {
		t.Errorf("a full disk: %v", err)
	}
}
