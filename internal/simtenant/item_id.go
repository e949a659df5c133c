package simtenant

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// An itemID is what the id of an item spells: "01", and in base 32 what all items of
// the drive begin with and the item's GUID, which is in its tags, too. So the real
// service's do.
type itemID struct {
	drive [4]byte
	guid  [16]byte
}

// String spells the GUID as a random one, by which guid knows it from what was there before.
func (i itemID) String() string {
	i.guid[6] = i.guid[6]&0x0f | 0x40
	i.guid[8] = i.guid[8]&0x3f | 0x80
	var b [20]byte
	copy(b[:], i.drive[:])
	copy(b[4:], i.guid[:])
	swapGUID(b[4:])
	var text [34]byte
	text[0], text[1] = '0', '1'
	base32.StdEncoding.Encode(text[2:], b[:])
	return string(text[:])
}

// swapGUID turns a GUID as it is spelled into the order of bytes that Windows keeps, and back.
func swapGUID(g []byte) {
	binary.LittleEndian.PutUint32(g, binary.BigEndian.Uint32(g))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(g[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(g[6:]))
}

// newItemID returns an id that nothing has.
func (d *drive) newItemID() string {
	id := itemID{drive: d.place.mark()}
	rand.Read(id.guid[:])
	return id.String()
}

// mark is what the ids of a drive's items begin with.
func (p place) mark() [4]byte {
	g := derive("items", p.id())
	return [4]byte(g[:])
}

// guid is in the tags of an item, and what the lists of a site name it by. An id from
// before ids spelled one has another.
func (it *item) guid() string {
	if b, err := base32.StdEncoding.DecodeString(strings.TrimPrefix(it.id, "01")); err == nil && len(b) == 20 {
		g := [16]byte(b[4:])
		if swapGUID(g[:]); g[6]>>4 == 4 && g[8]>>6 == 2 {
			return strings.ToUpper(guidText(g))
		}
	}
	return strings.ToUpper(guidText(derive("item", it.id)))
}
