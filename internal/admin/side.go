package admin

import (
	"context"
	"sync"
)

// sideBySide does n pieces of work, at most atOnce at a time. What a piece has
// found is told by the function that it returns, one at a time; the first error,
// of a piece or of telling, ends all, and is returned.
func sideBySide(ctx context.Context, n, atOnce int, work func(ctx context.Context, i int) (tell func() error, err error)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for i := range n {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-turn }()
			tell, err := work(ctx, i)
			if err != nil {
				stop(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil {
				return
			}
			if err := tell(); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
