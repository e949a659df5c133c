package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
	"holdfast/internal/letter"
)

// The answers of the API on what a restore point of a mailbox holds, as far as the commands
// read them.
type (
	heldAnswer struct {
		ItemKey, Type, Name, Path, Sender, SizeInBytes string
		ItemsCount                                     *int
		ItemDateTime                                   time.Time
		HasAttachments, IsReadable                     bool
		Unread                                         *struct { // why the point does not hold it as it was
			Message string
			IsHeld  bool
		}
	}
	messageAnswer struct {
		heldAnswer
		Subject, Text                    string
		From, ToRecipients, CcRecipients []string
		SentDateTime                     time.Time
		IsTextCut, IsBroken              bool
		Attachments                      []struct{ ID, Name, ContentType, SizeInBytes string }
		Note                             string `json:"@holdfast.note"`
	}
)

func (c *cli) mailCommand() *cobra.Command {
	var at, point, next, to string
	var limit int
	var attachments bool
	from := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&at, "at", "latest", "look at it as it was at this `TIME`: the newest restore point up to then")
		cmd.Flags().StringVar(&point, "point", "", "look into this very restore `POINT` and leave MAILBOX out")
		return cmd
	}
	// place parts the arguments into the point to look into and the rest of them.
	place := func(ctx context.Context, args []string) (string, []string, error) {
		if point != "" {
			return point, args, nil
		}
		if len(args) == 0 {
			return "", nil, usageError{errors.New("say whose backup: a MAILBOX, or --point POINT")}
		}
		id, err := c.mailPoint(ctx, args[0], at)
		return id, args[1:], err
	}
	keys := func(args []string) error {
		if point == "" && len(args) < 2 || len(args) == 0 {
			return usageError{errors.New("say which message: its KEY, as 'holdfast mail ls' and 'holdfast find --mailbox --json' show it")}
		}
		return nil
	}
	ls := from(&cobra.Command{Use: "ls MAILBOX [FOLDER]", Short: "List a folder of a mailbox's backup, the newest first", Args: args(0, 2),
		Long: `Lists what a folder of a mailbox held at a restore point: the folders in it, and then
messages, events, contacts and tasks, the newest first. Without a FOLDER it lists the
folders at the top. A FOLDER in another is called as Inbox/Projects.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			id, folders, err := place(ctx, args)
			if err != nil {
				return err
			}
			if len(folders) > 1 {
				return usageError{errors.New("list one FOLDER at a time")}
			}
			return c.mailList(ctx, id, strings.Join(folders, ""), next, limit)
		})})
	ls.Flags().IntVar(&limit, "limit", 100, "how many at most; 0 for all")
	ls.Flags().StringVar(&next, "next", "", "go on where another list ended, with the `TOKEN` that it printed")
	show := from(&cobra.Command{Use: "show MAILBOX KEY", Short: "Show a message of a mailbox's backup as text", Args: args(1, 2),
		Long: `Shows a message as a person reads it: who wrote to whom, what is attached, and the text.
Of HTML it is what is read of it; nothing in it is run, and nothing loaded. The audit log
has who read what.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if err := keys(args); err != nil {
				return err
			}
			id, keys, err := place(ctx, args)
			if err != nil {
				return err
			}
			return c.mailShow(ctx, id, keys[0])
		})})
	save := from(&cobra.Command{Use: "save MAILBOX KEY...", Short: "Save messages of a mailbox's backup as files", Args: args(1, -1),
		Long: `Saves messages as .eml files, which any mail program opens, byte for byte as the source
gave them, and with --attachments what is attached to each beside it. A file that is there
is not written over: another gets a number.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if err := keys(args); err != nil {
				return err
			}
			id, keys, err := place(ctx, args)
			if err != nil {
				return err
			}
			return c.mailSave(ctx, id, keys, to, attachments)
		})})
	save.Flags().StringVar(&to, "to", ".", "save into this `FOLDER`, which is made if it is not there")
	save.Flags().BoolVar(&attachments, "attachments", false, "save what is attached to them, too")
	return group("mail", "Read what mailboxes' backups hold", "A mailbox is read as it was at a restore point. 'holdfast restore run --mailbox MAILBOX\n--item KEY' restores a message or a folder, 'holdfast find --mailbox' finds one in all\nrestore points there are.", ls, show, save)
}

// mailPoint is the newest restore point of a mailbox up to a time.
func (c *cli) mailPoint(ctx context.Context, mailbox, at string) (string, error) {
	if strings.EqualFold(at, "latest") {
		at = ""
	}
	wanted, err := newSearch("", at)
	if err != nil {
		return "", err
	}
	u, _, err := c.unitOf(ctx, mailboxes, mailbox)
	if err != nil {
		return "", err
	}
	found, _, err := c.points(ctx, wanted, []string{u.ID})
	if err != nil {
		return "", err
	}
	p, ok := found[u.ID]
	if !ok {
		return "", fail(exitNotFound, "%s has no restore point%s; 'holdfast point list --mailbox %s' shows those there are", mailbox, map[bool]string{true: " up to " + at}[at != ""], mailbox)
	}
	if !c.quiet {
		fmt.Fprintf(c.errs, "%s as it was at %s\n", mailbox, p.ProtectionDateTime.Local().Format("2006-01-02 15:04:05"))
	}
	return p.ID, nil
}

// mailAt is the address of a function on what a restore point of a mailbox holds.
func mailAt(point, function string, keys ...string) string {
	at := "/restorePoints/" + segment(point) + "/holdfast." + function
	for _, key := range keys {
		if key != "" {
			at += "/" + segment(key)
		}
	}
	return at
}

// mailFolder is the key of a folder of a point by its path; "" for the top.
func (c *cli) mailFolder(ctx context.Context, point, folder string) (key string, err error) {
	for rest := strings.Trim(folder, "/"); rest != ""; {
		var in heldAnswer
		for value, err := range c.api.All(ctx, mailAt(point, "mail", key)+"?$top=200") {
			if err != nil {
				return "", err
			}
			var held heldAnswer
			if err := json.Unmarshal(value, &held); err != nil {
				return "", err
			}
			if held.Type != "folder" {
				break // folders come first
			}
			begins := len(rest) >= len(held.Name) && strings.EqualFold(rest[:len(held.Name)], held.Name) && strings.HasPrefix(rest[len(held.Name):]+"/", "/")
			if begins && len(held.Name) > len(in.Name) {
				in = held
			}
		}
		if in.ItemKey == "" {
			return "", fail(exitNotFound, "there is no folder %s in this backup. 'holdfast mail ls' shows which there are; --at looks at another time", folder)
		}
		key, rest = in.ItemKey, strings.Trim(rest[len(in.Name):], "/")
	}
	return key, nil
}

func (c *cli) mailList(ctx context.Context, point, folder, next string, limit int) error {
	key, err := c.mailFolder(ctx, point, folder)
	if err != nil {
		return err
	}
	var all []heldAnswer
	var values []json.RawMessage
	note := ""
	const page = 200
	for more := true; more; more = next != "" && (limit <= 0 || len(all) < limit) {
		top := page
		if limit > 0 {
			top = min(top, limit-len(all))
		}
		at := mailAt(point, "mail", key) + "?$top=" + strconv.Itoa(top)
		if next != "" {
			at += "&$skiptoken=" + url.QueryEscape(next)
		}
		var answer client.Page
		if err := c.api.Get(ctx, at, &answer); err != nil {
			return err
		}
		for _, value := range answer.Value {
			var held heldAnswer
			if err := json.Unmarshal(value, &held); err != nil {
				return err
			}
			all, values = append(all, held), append(values, value)
		}
		link, err := url.Parse(answer.Next)
		if err != nil {
			return err
		}
		next, note = link.Query().Get("$skiptoken"), cmp.Or(note, answer.Note)
	}
	err = printList(c, values, all, func(h heldAnswer) string { return h.ItemKey }, []string{"TYPE", "DATE", "FROM", "NAME", "SIZE", "HOLDS", "KEY"}, func(h heldAnswer) []string {
		holds := ""
		switch {
		case h.ItemsCount != nil:
			holds = number(*h.ItemsCount, "item")
		case h.HasAttachments:
			holds = "attachments"
		}
		return []string{h.Type, clock(h.ItemDateTime), h.Sender, h.Name, size(h.SizeInBytes), holds, h.ItemKey}
	}, "The folder is empty.")
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Unread != nil && !c.script() {
			fmt.Fprintln(c.errs, oneLine(map[bool]string{true: "Held as it was before", false: "Not in this restore point"}[h.Unread.IsHeld || h.Type == "folder"]+": "+h.Name+". "+h.Unread.Message))
		}
	}
	if note != "" {
		fmt.Fprintln(c.errs, oneLine(note))
	}
	if next != "" {
		fmt.Fprintf(c.errs, "There is more: --limit shows more at once, and this what follows:\n  --next %s\n", next)
	}
	return nil
}

func (c *cli) mailShow(ctx context.Context, point, key string) error {
	m, value, err := get[messageAnswer](ctx, c, mailAt(point, "message", key))
	if err != nil {
		return err
	}
	if c.script() {
		return c.printOne(value, m.ItemKey)
	}
	line := func(name, text string) {
		if text != "" {
			c.say("%-12s %s", name+":", text)
		}
	}
	line("Folder", m.Path)
	line("From", cmp.Or(strings.Join(m.From, ", "), m.Sender))
	line("To", strings.Join(m.ToRecipients, ", "))
	line("Cc", strings.Join(m.CcRecipients, ", "))
	at := m.SentDateTime
	if at.IsZero() {
		at = m.ItemDateTime
	}
	line("Date", clock(at))
	line("Subject", cmp.Or(m.Subject, m.Name))
	for i, a := range m.Attachments {
		line("Attachment "+strconv.Itoa(i+1), a.Name+", "+size(a.SizeInBytes))
	}
	if m.Text != "" {
		c.say("")
		for text := range strings.Lines(m.Text) {
			c.say("%s", strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\t", "    "))
		}
	}
	for _, note := range []struct {
		is   bool
		text string
	}{
		{m.Note != "", m.Note}, {m.IsTextCut, "The message goes on: 'holdfast mail save' saves all of it."},
		{m.IsBroken, "The message is not as mail should be: there may be more in it than is shown. 'holdfast mail save' saves it as it is."},
	} {
		if note.is {
			fmt.Fprintln(c.errs, oneLine(note.text))
		}
	}
	return nil
}

// A savedFile is a file that 'mail save' made.
type savedFile struct {
	ItemKey string `json:"itemKey"`
	File    string `json:"file"`
	Size    int64  `json:"sizeInBytes"`
}

func (c *cli) mailSave(ctx context.Context, point string, keys []string, to string, attachments bool) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	var all []savedFile
	var values []json.RawMessage
	save := func(key, at, name string) error {
		file, n, err := c.download(ctx, root, at, name)
		if err != nil {
			return err
		}
		one := savedFile{key, filepath.Join(to, file), n}
		value, err := json.Marshal(one)
		all, values = append(all, one), append(values, value)
		return err
	}
	for _, key := range keys {
		if err = save(key, mailAt(point, "mime", key), "message.eml"); err != nil || !attachments {
			if err != nil {
				break
			}
			continue
		}
		var m messageAnswer
		if m, _, err = get[messageAnswer](ctx, c, mailAt(point, "message", key)); err != nil {
			break
		}
		for _, a := range m.Attachments {
			if err = save(key, mailAt(point, "attachment", key, a.ID), a.Name); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	// What was saved before something failed is there, and is told.
	return errors.Join(printList(c, values, all, func(f savedFile) string { return f.File }, []string{"FILE", "SIZE"}, func(f savedFile) []string {
		return []string{f.File, size(strconv.FormatInt(f.Size, 10))}
	}, ""), err)
}

// download saves what the API has at an address as a new file in a folder: by the name that
// the API gives it or else by name. Neither leads out of the folder.
func (c *cli) download(ctx context.Context, root *os.Root, at, name string) (file string, n int64, err error) {
	res, err := c.api.Open(ctx, at, "")
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	if _, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition")); err == nil {
		name = cmp.Or(params["filename"], name)
	}
	name = letter.FileName(name)
	end := filepath.Ext(name)
	var f *os.File
	for i := 1; ; i++ {
		if file = name; i > 1 {
			file = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, end), i, end)
		}
		if f, err = root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return "", 0, err
	}
	if n, err = io.Copy(f, res.Body); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil { // a part must not look like the whole
		return "", 0, errors.Join(fmt.Errorf("save %s: %w", file, err), root.Remove(file))
	}
	return file, n, nil
}
