// Package log writes a line to the log for each finding and does nothing else.
//
// Comes in: a target. Goes out: one structured line. What a program can choose, such as
// its name, is an attribute and never part of the message.
package log

import (
	"context"
	"fmt"
	"log/slog"

	"sockwarden/actions"
)

// Plugin returns the registration of the action; it writes to logger.
func Plugin(logger *slog.Logger) actions.Plugin {
	return actions.Plugin{
		Name:     "log",
		Summary:  "writes a line to the log",
		Doc:      "One line at the given level (info by default) with rule, socket, process and age. It touches nothing.",
		Params:   []actions.Param{{Name: "level", Type: "string", Doc: "debug, info, warn or error"}},
		Main:     "level",
		Harmless: true,
		Results:  []actions.Result{actions.Done},
		New: func(params map[string]any) (actions.Action, error) {
			level := slog.LevelInfo
			if text, ok := params["level"].(string); ok {
				if err := level.UnmarshalText([]byte(text)); err != nil {
					return nil, fmt.Errorf("level is debug, info, warn or error, not %q", text)
				}
			}
			return action{logger, level}, nil
		},
	}
}

type action struct {
	logger *slog.Logger
	level  slog.Level
}

// Prepare has nothing to look up: it logs the finding itself.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	return effect{a, t}, nil
}

type effect struct {
	action
	target actions.Target
}

func (e effect) String() string { return "log" }

// Apply writes one line for each socket.
func (e effect) Apply(ctx context.Context) actions.Outcome {
	if len(e.target.Sockets) == 0 {
		e.logger.LogAttrs(ctx, e.level, "finding without a socket", slog.String("rule", e.target.Rule))
	}
	for i := range e.target.Sockets {
		e.logger.LogAttrs(ctx, e.level, "finding", append([]slog.Attr{slog.String("rule", e.target.Rule)}, actions.Attrs(&e.target.Sockets[i])...)...)
	}
	return actions.Outcome{Result: actions.Done}
}

// Verify has nothing to look at.
func (e effect) Verify(context.Context) actions.Outcome { return actions.Outcome{Result: actions.Done} }
