package stuck

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A call that is not in uninterruptible sleep is waited for, however long it takes.
func TestSlowIsNotStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := false
		if err := Do(t.Context(), "slow", func() {
			time.Sleep(12 * Limit)
			done = true
		}); err != nil || !done {
			t.Errorf("%v, done: %t", err, done)
		}
	})
}

// A call that returns is not an error.
func TestReturned(t *testing.T) {
	t.Parallel()
	ran := false
	if err := Do(t.Context(), "quick", func() { ran = true }); err != nil || !ran {
		t.Errorf("%v, ran: %t", err, ran)
	}
	if In(errors.New("else")) != nil || In(nil) != nil {
		t.Error("a call is in what is none")
	}
}

// Under OnThisThread a call runs on its caller's thread.
func TestOnThisThread(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var here, elsewhere int
	if err := Do(OnThisThread(t.Context()), "here", func() { here = unix.Gettid() }); err != nil {
		t.Error(err)
	}
	if err := Do(t.Context(), "elsewhere", func() { elsewhere = unix.Gettid() }); err != nil {
		t.Error(err)
	}
	if here != unix.Gettid() || elsewhere == unix.Gettid() {
		t.Errorf("threads %d and %d, the caller's is %d", here, elsewhere, unix.Gettid())
	}
}

// BenchmarkDo measures the cost of being able to leave a call behind.
func BenchmarkDo(b *testing.B) {
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if err := Do(ctx, "nothing", func() {}); err != nil {
			b.Fatal(err)
		}
	}
}
