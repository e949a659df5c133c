package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// A container that has version-level immutability locks as a bucket with object lock
// does: each blob bears until when it may not be deleted, a deletion leaves it as an
// earlier version, and what is written over it stands before it. There is one mode:
// what is locked nobody can unlock, so that it is Compliance.

// prove looks whether the container has such locks, and proves that they hold: it locks
// a version of a blob, has another follow it, and tries to lift the lock and to delete
// the version. An error says that it could not be told.
func (c *Container) prove(ctx context.Context) (Locks, error) {
	l := Locks{Lock: Lock{cmp.Or(c.Lock.Mode, Compliance), cmp.Or(c.Lock.Period, lockPeriod)}}
	switch {
	case l.Mode == NoLock:
		l.Says = "locks are switched off: whoever can write to the container can delete the backups"
		return l, nil
	case !c.At.IsZero(): // nothing is written then
		return Locks{Lock: Lock{Mode: NoLock}}, nil
	}
	in, err := c.client()
	if err != nil {
		return l, err
	}
	probe := in.NewBlockBlobClient(c.Prefix + probeName)
	c.sweepProbes(ctx, in)
	until, mode := time.Now().Add(probeLock).UTC(), azblob.ImmutabilityPolicySettingLocked
	put := func(o *blockblob.UploadOptions) (version string, err error) {
		r, err := probe.Upload(ctx, streaming.NopCloser(strings.NewReader(rand.Text())), o)
		if r.VersionID != nil {
			version = *r.VersionID
		}
		return version, err
	}
	version, err := put(&blockblob.UploadOptions{ImmutabilityPolicyMode: &mode, ImmutabilityPolicyExpiryTime: &until})
	switch status := azureStatus(err); {
	case status >= 400 && status < 500:
		l.Says = fmt.Sprintf("nothing can be locked in the container, and whoever can write to it can delete the backups; if it has version-level immutability, what it is opened with must be allowed to set it: %s", azureCode(err))
		return l, nil
	case err != nil:
		return l, fmt.Errorf("whether the container has locks: %w", err)
	case version == "":
		l.Says = "the container keeps no versions, so nothing is locked in it, and whoever can write to it can delete the backups: switch version-level immutability on"
		return l, nil
	}
	if _, err := put(nil); err != nil { // only earlier versions are deleted by themselves
		return l, fmt.Errorf("whether the container's locks hold: %w", err)
	}
	locked, err := probe.WithVersionID(version)
	if err != nil {
		return l, err
	}
	_, lifted := locked.DeleteImmutabilityPolicy(ctx, nil)
	_, deleted := locked.Delete(ctx, nil)
	for _, err := range []error{lifted, deleted} {
		if err != nil && azureStatus(err)/100 != 4 {
			return l, fmt.Errorf("whether the container's locks hold: %w", err)
		}
	}
	// What was answered to the deletion proves nothing: look.
	switch _, err := locked.GetProperties(ctx, nil); {
	case azureStatus(err) == http.StatusNotFound:
		l.Says = "the container says that it locks, and a blob that was locked could be deleted: whoever can write to it can delete the backups"
		return l, nil
	case err != nil:
		return l, fmt.Errorf("whether the container's locks hold: %w", err)
	}
	l.On, l.Proven = true, true
	l.Says = fmt.Sprintf("what is written is locked for %d days and longer: a blob that was locked could not be deleted", int(l.Period.Hours()/24))
	return l, nil
}

// sweepProbes takes away what earlier probes have left, or leaves it to the next.
func (c *Container) sweepProbes(ctx context.Context, in *container.Client) {
	name := c.Prefix + probeName
	_, _ = in.NewBlobClient(name).Delete(ctx, nil)
	pages := in.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &name, Include: container.ListBlobsInclude{Versions: true}})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil || page.Segment == nil {
			return
		}
		for _, b := range page.Segment.BlobItems {
			if b.Name == nil || *b.Name != name || b.VersionID == nil {
				continue
			}
			if version, err := in.NewBlobClient(name).WithVersionID(*b.VersionID); err == nil {
				_, _ = version.Delete(ctx, nil)
			}
		}
	}
}

// azureStatus is the status of a store's answer that is an error, or 0.
func azureStatus(err error) int {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return e.StatusCode
	}
	return 0
}

// azureCode is what such an answer calls the error, without the request.
func azureCode(err error) string {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return cmp.Or(e.ErrorCode, http.StatusText(e.StatusCode))
	}
	return err.Error()
}

// client is a client of the container for what kopia's has no words for.
func (c *Container) client() (*container.Client, error) {
	o, scheme := c.options(true), "https"
	var options container.ClientOptions
	if c.Plain {
		scheme, options.InsecureAllowCredentialWithHTTP = "http", true
	}
	at := scheme + "://" + c.Account + "." + cmp.Or(c.Domain, "blob.core.windows.net") + "/" + c.Name
	switch {
	case o.SASToken != "":
		return container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(o.SASToken, "?"), &options)
	case o.StorageKey != "":
		key, err := container.NewSharedKeyCredential(c.Account, o.StorageKey)
		if err != nil {
			return nil, errors.New("the account's key is no key") // the error may hold it
		}
		return container.NewClientWithSharedKeyCredential(at, key, &options)
	}
	who, err := azidentity.NewClientSecretCredential(o.TenantID, o.ClientID, o.ClientSecret, nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, who, &options)
}
