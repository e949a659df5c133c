package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"holdfast/internal/backup"
)

// A Subscription has the source tell an address that something changed in a drive.
type Subscription struct {
	ID      string
	Expires time.Time
}

// LongestSubscription is how long the source lets one live.
const LongestSubscription = 42_300 * time.Minute

type wireSubscription struct {
	ID                 string
	ExpirationDateTime time.Time
}

// Subscribe has changes of a drive be told at an address until a time. The source
// asks that address, before it answers, whether it wants to be told. With each
// notification comes the state, of up to 128 characters.
func (c *Client) Subscribe(ctx context.Context, d backup.DriveID, to string, state Secret, until time.Time) (Subscription, error) {
	return c.subscription(ctx, &call{
		op: "subscribe to drive " + string(d), method: http.MethodPost, url: c.at("subscriptions"), cost: costWrite, itemOf: d, single: true,
		json: map[string]string{
			"changeType": "updated", "resource": "/drives/" + string(d) + "/root", "notificationUrl": to, "lifecycleNotificationUrl": to,
			"clientState": string(state), "expirationDateTime": until.UTC().Format(time.RFC3339),
		},
	})
}

// Renew has a subscription go on until a time. One that the source does not know
// any more is ErrNotFound.
func (c *Client) Renew(ctx context.Context, id string, until time.Time) (Subscription, error) {
	return c.subscription(ctx, &call{
		op: "renew subscription " + id, method: http.MethodPatch, url: c.at("subscriptions", id), cost: costWrite,
		json: map[string]string{"expirationDateTime": until.UTC().Format(time.RFC3339)},
	})
}

func (c *Client) subscription(ctx context.Context, k *call) (Subscription, error) {
	var w wireSubscription
	_, err := c.do(ctx, k, &w)
	if err == nil && (w.ID == "" || w.ExpirationDateTime.IsZero()) {
		err = noAnswer(k.op, errors.New("it names no subscription"))
	}
	return Subscription{w.ID, w.ExpirationDateTime}, err
}

// Unsubscribe ends a subscription. One that is not there any more is no error.
func (c *Client) Unsubscribe(ctx context.Context, id string) error {
	_, err := c.do(ctx, &call{op: "end subscription " + id, method: http.MethodDelete, url: c.at("subscriptions", id), cost: costWrite}, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// A Notification is what somebody, who may not be the source, says of a
// subscription.
type Notification struct {
	State string // by which it is known whether it is the source
	Fate  Fate   // of the subscription; empty: the drive changed
}

// A Fate is what became of a subscription.
type Fate string

const (
	Removed Fate = "subscriptionRemoved"
	Missed  Fate = "missed" // something could not be told
)

// maxNotifications is how many notifications of a request are looked at.
const maxNotifications = 1000

// ReadNotifications reads the body of a request by which changes are told.
func ReadNotifications(body io.Reader) ([]Notification, error) {
	var in struct {
		Value []struct {
			ClientState    string
			LifecycleEvent string
		}
	}
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	var all []Notification
	for _, n := range in.Value[:min(len(in.Value), maxNotifications)] {
		all = append(all, Notification{n.ClientState, Fate(n.LifecycleEvent)})
	}
	return all, nil
}
