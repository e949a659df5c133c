// Package devserver runs a `holdfast dev` process for tests, as a person starts
// it.
package devserver

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A Server is a `holdfast dev` process with the built-in tenant.
type Server struct {
	HTTP, HTTPS string // the origins it listens on
	CA          string // its CA certificate, PEM
	Drives      string // the folder of the users' drives
	Sites, Mail string // the folders of the sites and of the mailboxes
	Tenant      string
	App, Secret string
}

// Start builds the program at root, the repository's own folder, and starts it
// with its data in dir. Where there is no error, stop ends it.
func Start(root, dir string) (dev Server, stop func(), err error) {
	binary := filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return dev, nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	plain, secure, err := freePorts()
	if err != nil {
		return dev, nil, err
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(binary, "dev", "--data", data, "--listen", plain, "--tls-listen", secure, "--interval", "5s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return dev, nil, err
	}
	if err := cmd.Start(); err != nil {
		return dev, nil, err
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		return dev, stop, err
	}
	dev = Server{
		HTTP: "http://" + plain, HTTPS: "https://localhost:" + port,
		CA: filepath.Join(data, "tls", "ca.pem"), Drives: filepath.Join(data, "drives"),
		Sites: filepath.Join(data, "sites"), Mail: filepath.Join(data, "mail"),
	}
	// What a person copies from the screen, the test reads from it.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSuffix(name, ":")) {
		case "tenant":
			dev.Tenant = strings.Fields(value)[0]
		case "application":
			dev.App = strings.Fields(value)[0]
		case "secret":
			dev.Secret = strings.Fields(value)[0]
		}
		if dev.Tenant != "" && dev.App != "" && dev.Secret != "" {
			go func() {
				for lines.Scan() {
				}
			}()
			return dev, stop, nil
		}
	}
	return dev, stop, fmt.Errorf("it ended before it said its tenant, application and secret")
}

func freePorts() (a, b string, err error) {
	la, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer la.Close()
	lb, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer lb.Close()
	return la.Addr().String(), lb.Addr().String(), nil
}
