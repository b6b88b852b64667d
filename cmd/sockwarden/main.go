package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows of time have zones, even if the host has no time zone database
)

func main() {
	code := realMain()
	// A thread that hangs in the kernel keeps the process alive, with everything open:
	// whoever reads our output must see its end all the same.
	_ = os.Stdout.Close()
	_ = os.Stderr.Close()
	os.Exit(code)
}

// realMain is main in a form that tests can call: it returns the exit code.
func realMain() int {
	if err := enoughDescriptors(); err != nil {
		explain(os.Stderr, err)
		return code(err)
	}
	// A reader that goes away must not end a live run in the middle: writes then fail,
	// quietly.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	defer a.close()
	root := a.root()
	root.SetArgs(sortedDown(args))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		explain(stderr, refine(err))
	}
	return code(refine(err))
}
