package main

import (
	"errors"
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
	if n := roomOn(dir); n <= 0 {
		t.Errorf("%d bytes are free", n)
	}
	if err := full(dir, 150<<20); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "150 MB at ") {
		t.Errorf("a full disk: %v", err)
	}
}
