package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/drive"
)

// What is restored of a list's item is what Graph lets one write: the values of the
// columns of some kinds. Items are compared by these alone, as they are read, however
// the source writes them.

// writableKinds are the kinds of columns whose values can be written.
var writableKinds = map[string]bool{"boolean": true, "choice": true, "currency": true, "dateTime": true, "lookup": true, "number": true, "personOrGroup": true, "text": true}

// computed are columns whose values follow from others, although the source does not
// say so of all of them.
var computed = map[string]bool{
	"ID": true, "ContentType": true, "Attachments": true, "Edit": true, "LinkTitle": true, "LinkTitleNoMenu": true, "DocIcon": true,
	"ItemChildCount": true, "FolderChildCount": true, "Author": true, "Editor": true, "Created": true, "Modified": true,
	"AppAuthor": true, "AppEditor": true, "_UIVersionString": true, "FileLeafRef": true, "FileSizeDisplay": true,
}

// holdsValues reports whether people put values into a column.
func holdsValues(c *drive.Column) bool { return !c.ReadOnly && !computed[c.Name] }

// valueOf returns what an item has in a column, as it is compared and written: nil,
// true, a json.Number, a text, a number or numbers of items, or texts.
func valueOf(c *drive.Column, fields map[string]json.RawMessage) any {
	if c.IsLookup() {
		ids := numbersIn(fields[c.Name+"LookupId"])
		if len(ids) == 0 {
			ids = numbersIn(fields[c.Name])
		}
		switch {
		case len(ids) == 0:
			return nil
		case c.Multiple:
			return ids
		}
		return ids[0]
	}
	v := decodeValue(fields[c.Name])
	switch is := v.(type) {
	case string:
		if is == "" {
			return nil
		}
		if at, err := time.Parse(time.RFC3339Nano, is); err == nil && c.Kind == "dateTime" {
			return at.UTC().Format(time.RFC3339Nano)
		}
	case []any:
		if len(is) == 0 {
			return nil
		}
	case json.Number:
		if f, err := is.Float64(); err == nil {
			return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
		}
	}
	return v
}

func decodeValue(raw json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 || d.Decode(&v) != nil {
		return nil
	}
	return v
}

// numbersIn returns the numbers of items in the value of a lookup, each once.
func numbersIn(raw json.RawMessage) (ids []int) {
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case json.Number:
			add(string(v))
		case string:
			if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 && !slices.Contains(ids, int(n)) {
				ids = append(ids, int(n))
			}
		case map[string]any:
			add(v["LookupId"])
		case []any:
			for _, one := range v {
				add(one)
			}
		}
	}
	add(decodeValue(raw))
	return ids
}

// put gives fields that are written the value of a column, nil for none.
func put(fields map[string]any, c *drive.Column, value any) {
	name := c.Name
	if c.IsLookup() {
		name += "LookupId"
	}
	if c.Multiple {
		of := "String"
		if c.IsLookup() {
			of = "Int32"
		}
		if value == nil {
			value = []int{}
		}
		fields[name+"@odata.type"] = "Collection(Edm." + of + ")"
	}
	fields[name] = value
}

// canon is a value as a text by which it is compared.
func canon(value any) string {
	if ids, ok := value.([]int); ok {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		value = ids
	}
	text, _ := json.Marshal(value)
	return string(text)
}

// typeName is the name of an item's content type.
func typeName(f *drive.ItemFile) string { return nameOf(f.ContentType) }

// nameOf is the name of a content type.
func nameOf(contentType json.RawMessage) string {
	var of struct{ Name string }
	json.Unmarshal(contentType, &of)
	return of.Name
}

// isListFolder reports whether an item is a folder of its list.
func isListFolder(f *drive.ItemFile) bool {
	var of struct{ ID string }
	json.Unmarshal(f.ContentType, &of)
	return strings.HasPrefix(strings.ToLower(of.ID), "0x0120")
}

// digestOf tells items apart by some of what they hold.
func digestOf(values []string) string {
	sum := sha256.Sum256([]byte(strings.Join(values, "\x00")))
	return string(sum[:16])
}

// aColumn is what is told of a column that shall be made like one that is kept.
func aColumn(c *drive.Column, looks string) json.RawMessage {
	var is map[string]json.RawMessage
	if json.Unmarshal(c.Raw, &is) != nil || c.Kind == "" {
		return nil
	}
	made := map[string]json.RawMessage{}
	for _, name := range []string{"name", "displayName", "description", "enforceUniqueValues", "indexed", "required", "defaultValue", "validation", c.Kind} {
		if v, ok := is[name]; ok {
			made[name] = v
		}
	}
	if c.Kind == "lookup" && looks != "" {
		var facet map[string]json.RawMessage
		json.Unmarshal(made["lookup"], &facet)
		if facet == nil {
			facet = map[string]json.RawMessage{}
		}
		facet["listId"], _ = json.Marshal(looks)
		made["lookup"], _ = json.Marshal(facet)
	}
	raw, _ := json.Marshal(made)
	return raw
}

// aContentType is what is told of a content type that shall be made like one that is
// kept; nil if it cannot be.
func aContentType(raw json.RawMessage) (name string, made map[string]any) {
	var is struct{ ID, Name, Description, Group string }
	if json.Unmarshal(raw, &is) != nil || is.Name == "" || strings.HasPrefix(strings.ToLower(is.ID), "0x0120") {
		return is.Name, nil
	}
	made = map[string]any{"name": is.Name, "description": is.Description, "group": is.Group}
	// The id of a list's own type is that of the site's with 00 and a GUID.
	const own = 2 + 32
	if len(is.ID) > len("0x01")+own-1 {
		made["base"] = map[string]string{"id": is.ID[:len(is.ID)-own]}
	}
	return is.Name, made
}
