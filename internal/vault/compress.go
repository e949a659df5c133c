package vault

import (
	"io"
	"path"
	"runtime"
	"strings"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
)

// fastest is how what is worth it is compressed. It is kopia's, whose command reads
// and writes the same.
const fastest compression.Name = "zstd-fastest"

// A zstdFastest takes the place of kopia's own compressor of that name for this
// process. Kopia's compresses each block in a goroutine of its own, looks four
// megabytes back, adds a checksum to what is authenticated anyway, and is made anew
// after each collection of garbage, with eight megabytes to be cleared: that is a
// seventh more of time, and most of the memory, for a thousandth of room.
type zstdFastest struct {
	compression.Compressor // kopia's, which reads
	header                 []byte
	free                   chan *zstd.Encoder
}

// window is how far an encoder looks back.
const window = 1 << 20

// Nothing compresses before all packages are initialised, and nothing changes
// kopia's tables thereafter.
func init() {
	kopias := compression.ByName[fastest]
	id := kopias.HeaderID()
	c := &zstdFastest{kopias, []byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, make(chan *zstd.Encoder, 2*runtime.NumCPU())}
	compression.ByName[fastest], compression.ByHeaderID[id] = c, c
}

func (c *zstdFastest) Compress(output io.Writer, input io.Reader) error {
	if _, err := output.Write(c.header); err != nil {
		return err
	}
	e, err := c.take()
	if err != nil {
		return err
	}
	e.Reset(output)
	_, err = e.ReadFrom(input)
	if err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	e.Reset(nil)
	select {
	case c.free <- e:
	default:
	}
	return nil
}

func (c *zstdFastest) take() (*zstd.Encoder, error) {
	select {
	case e := <-c.free:
		return e, nil
	default:
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	}
}

// packed are the endings of names whose files hold what is compressed already. Where
// a name is wrong that costs room only, or time.
var packed = func() map[string]bool {
	m := map[string]bool{}
	for ending := range strings.FieldsSeq(`7z aac apk avi avif bz2 cab docm docx dotx epub flac gif gz heic heif jar jfif
		jpeg jpg lz4 m4a m4v mkv mov mp3 mp4 mpeg mpg odp ods odt ogg one opus png potx ppsx pptm pptx rar tgz vsdx
		webm webp wma wmv xlsb xlsm xlsx xltx xz zip zipx zst`) {
		m["."+ending] = true
	}
	return m
}()

const (
	// unsampled is up to which length a file is compressed without a look at a
	// sample: kopia keeps it as it is when that does not make it smaller.
	unsampled = 32 << 10
	// sampleSize is how much is looked at in each of three places of what a file
	// begins with, and worthwhile an estimate from which on the file becomes smaller:
	// noise and what is packed have 0.1, and text and programs 0.3 and more.
	sampleSize = 4 << 10
	worthwhile = 0.25
)

// compressor chooses by a file's name and what it begins with, which may be all.
func compressor(name string, begin []byte) compression.Name {
	if packed[strings.ToLower(path.Ext(name))] {
		return ""
	}
	if len(begin) <= unsampled {
		return fastest
	}
	for _, at := range []int{0, (len(begin) - sampleSize) / 2, len(begin) - sampleSize} {
		if compress.Estimate(begin[at:at+sampleSize]) >= worthwhile {
			return fastest
		}
	}
	return ""
}
