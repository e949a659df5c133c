package backup

import "strconv"

// Number is a number as people read it, with commas between its thousands: 3,400.
func Number[N ~int | ~int64](n N) string {
	text, least := strconv.FormatInt(int64(n), 10), 0
	if n < 0 {
		least = 1
	}
	for i := len(text) - 3; i > least; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
