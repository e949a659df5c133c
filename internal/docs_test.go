package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^()\s]+(?:\([^()\s]*\))?)\)`)
	mdHeading = regexp.MustCompile(`^#{1,6} +(.*)$`)
	mdAnchor  = regexp.MustCompile(`<a id="([^"]+)"`)
	notInSlug = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	codeSpan  = regexp.MustCompile("`[^`]*`")
)

// outsideCode returns the lines of a Markdown file that are not in a fenced block.
func outsideCode(text string) (lines []string) {
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return lines
}

// anchors are the fragments by which a Markdown file's places are linked, as GitHub
// makes them of headings.
func anchors(text string) map[string]bool {
	found, seen := map[string]bool{}, map[string]int{}
	for _, line := range outsideCode(text) {
		for _, m := range mdAnchor.FindAllStringSubmatch(line, -1) {
			found[m[1]] = true
		}
		m := mdHeading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		title := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
		if n := seen[slug]; n > 0 {
			found[slug+"-"+strconv.Itoa(n)] = true
		} else {
			found[slug] = true
		}
		seen[slug]++
	}
	return found
}

// Every link of the documents to another of them, or to a file, leads somewhere, also
// to the place in it. What is elsewhere is not asked.
func TestLinksLead(t *testing.T) {
	pages := []string{"../README.md", "../CHANGELOG.md"}
	err := filepath.WalkDir("../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := codeSpan.ReplaceAllString(strings.Join(outsideCode(string(b)), "\n"), "")
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, place, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			linked[filepath.ToSlash(target)] = linked[filepath.ToSlash(target)] || target != page
			b, err := os.ReadFile(target)
			switch {
			case err != nil && !isFolder(target):
				t.Errorf("%s links to %s, which is not there", page, m[1])
			case place != "" && !anchors(string(b))[place]:
				t.Errorf("%s links to %s, and there is no such place in it", page, m[1])
			}
		}
	}
	for _, page := range pages[1:] {
		if !linked[filepath.ToSlash(page)] {
			t.Errorf("no document links to %s, so that nobody finds it", page)
		}
	}
}

// No two rows of the table of divergences say how the same thing is: one would be of an
// earlier day.
func TestNoDivergenceIsTwice(t *testing.T) {
	b, err := os.ReadFile("../docs/divergences.md")
	if err != nil {
		t.Fatal(err)
	}
	const enough = 60 // characters that say what a row is about
	line, seen := 0, map[string]int{}
	for row := range strings.Lines(string(b)) {
		line++
		if !strings.HasPrefix(row, "| ") || len(row) < enough {
			continue
		}
		if about := row[:enough]; seen[about] > 0 {
			t.Errorf("lines %d and %d both begin %q", seen[about], line, about)
		} else {
			seen[about] = line
		}
	}
}

func isFolder(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.IsDir()
}
