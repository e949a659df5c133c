// Package rclone runs the integration suite that rclone's authors wrote for
// their onedrive backend, and run against OneDrive, against `holdfast tenant`.
// It is a module of its own, since it pins rclone and all that rclone needs.
package rclone

import _ "github.com/rclone/rclone/backend/onedrive" // whose tests are run
