package splunk

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// nodeCookie is what a load balancer in front of several nodes would set. A
// client that does not send it back is dealt the nodes in turn.
const nodeCookie = "hec_node"

// channelKey names a channel: channels of two tokens are never the same.
type channelKey struct {
	token, channel string
}

// pending is an ackId that was given and not yet confirmed.
type pending struct {
	request uint64
	ready   time.Time // confirmed from then on
	kept    bool      // false: what was answered was not indexed, never confirmed
}

// channel counts its ids from 0.
type channel struct {
	next    int64
	pending map[int64]pending
	used    time.Time
}

// node is one indexer: its acknowledgement ids are known to no other.
type node struct {
	channels map[channelKey]*channel
	pending  int
	swept    time.Time
}

func newNodes(n int) []*node {
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = &node{channels: make(map[channelKey]*channel)}
	}
	return nodes
}

// pick returns the node that a request is for and its number; with several
// nodes, one without cookie gets the next in turn.
func (r *Receiver) pick(req *http.Request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.nodes) == 1 {
		return 0
	}
	if c, err := req.Cookie(nodeCookie); err == nil {
		if i, err := strconv.Atoi(c.Value); err == nil && i >= 0 && i < len(r.nodes) {
			return i
		}
	}
	r.turn++
	return int(r.turn-1) % len(r.nodes)
}

// stick tells the client which node it was dealt.
func (r *Receiver) stick(w http.ResponseWriter, i int) {
	r.mu.Lock()
	many := len(r.nodes) > 1
	r.mu.Unlock()
	if many {
		http.SetCookie(w, &http.Cookie{Name: nodeCookie, Value: strconv.Itoa(i), Path: "/", HttpOnly: true})
	}
}

// giveAck books an id for a request. A code above 0 is the answer instead.
// r.mu is held.
func (r *Receiver) giveAck(at int, key channelKey, p pending, now time.Time) (int64, int) {
	n := r.nodes[at%len(r.nodes)]
	r.forgetIdle(n, now)
	c := n.channels[key]
	if c == nil {
		if len(n.channels) >= r.opt.MaxChannels {
			return 0, 27
		}
		c = &channel{pending: make(map[int64]pending)}
		n.channels[key] = c
	}
	c.used = now
	if len(c.pending) >= r.opt.MaxPending || n.pending >= r.opt.MaxPendingAll {
		return 0, 27
	}
	id := c.next
	c.next++
	c.pending[id] = p
	n.pending++
	return id, 0
}

// said is an id that was confirmed, for the log.
type said struct {
	id      int64
	request uint64
}

// askAcks answers a poll. What is confirmed is forgotten at once: it is said
// once. r.mu is held.
func (r *Receiver) askAcks(at int, key channelKey, ids []int64, now time.Time, never bool) (answers []bool, told []said) {
	n := r.nodes[at%len(r.nodes)]
	r.forgetIdle(n, now)
	answers = make([]bool, len(ids))
	c := n.channels[key]
	if c == nil {
		return answers, nil
	}
	c.used = now
	for i, id := range ids {
		p, ok := c.pending[id]
		if !ok || never || !p.kept || now.Before(p.ready) {
			continue
		}
		delete(c.pending, id)
		n.pending--
		answers[i] = true
		told = append(told, said{id, p.request})
	}
	return answers, told
}

// forgetIdle drops the channels that nobody used for MaxIdle. It looks at all
// of them at most ten times in that span.
func (r *Receiver) forgetIdle(n *node, now time.Time) {
	if r.opt.MaxIdle < 0 || now.Sub(n.swept) < r.opt.MaxIdle/10 {
		return
	}
	n.swept = now
	for key, c := range n.channels {
		if now.Sub(c.used) >= r.opt.MaxIdle {
			n.pending -= len(c.pending)
			delete(n.channels, key)
			r.count.ChannelsForgotten++
		}
	}
}

// Restart is a restart of every node: acknowledgement ids and channels are
// lost and ids start at 0 again. What was indexed stays.
func (r *Receiver) Restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = newNodes(len(r.nodes))
	r.count.Restarts++
}

// SetNodes puts n nodes (at least one) behind one address. Ids given before
// are lost.
func (r *Receiver) SetNodes(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = newNodes(max(n, 1))
}

// channelOf returns the channel that a request names: header first, then query.
func channelOf(req *http.Request) string {
	if c := req.Header.Get("X-Splunk-Request-Channel"); c != "" {
		return c
	}
	return req.URL.Query().Get("channel")
}

// isGUID reports whether s has the form 8-4-4-4-12 of hex digits.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
				return false
			}
		}
	}
	return true
}
