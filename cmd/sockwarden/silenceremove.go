package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/engine/silence"
)

func silenceRemove(a *app) *cobra.Command {
	q := &asking{app: a}
	cmd := &cobra.Command{
		Use:   "remove ID... [flags]",
		Short: "End silences before their time",
		Long: `Ends silences before their time. If one of them is not in force, none is ended. The
log of the watcher says who has ended them.`,
		Example: `  sudo sockwarden silence remove 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := numbers(args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askFor)
			defer cancel()
			if err := q.inForce(ctx, ids); err != nil {
				return err
			}
			for _, id := range ids {
				if err := q.remove(ctx, id); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(a.stdout, "removed silence %d\n", id); err != nil {
					return quietPipe(err)
				}
			}
			return nil
		},
	}
	q.register(cmd)
	declare{a, cmd}.state()
	return cmd
}

// numbers reads the numbers of silences.
func numbers(args []string) ([]int, error) {
	if len(args) == 0 {
		return nil, usagef("say which: sockwarden silence list shows their numbers")
	}
	var ids []int
	for _, text := range args {
		id, err := strconv.Atoi(text)
		if err != nil || id < 1 {
			return nil, usagef("%q is no number of a silence: sockwarden silence list shows them", text)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// inForce is an error that names those that are not.
func (q *asking) inForce(ctx context.Context, ids []int) error {
	all, err := q.silences(ctx)
	if err != nil {
		return err
	}
	var there, missing []string
	for _, s := range all {
		there = append(there, strconv.Itoa(s.ID))
	}
	for _, id := range ids {
		if text := strconv.Itoa(id); !slices.Contains(there, text) {
			missing = append(missing, text)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	text := "there is no silence " + strings.Join(missing, ", ") + " in force"
	if len(there) > 0 {
		text += "; there are " + strings.Join(there, ", ")
	}
	if len(ids) > len(missing) {
		text += "; none was removed"
	}
	return errors.New(text)
}

func (q *asking) remove(ctx context.Context, id int) error {
	c, err := control.Find(ctx, q.places())
	switch {
	case err == nil:
		_, err = c.Do(ctx, http.MethodDelete, "/v1/silences/"+strconv.Itoa(id), control.RemoveRequest{By: invoker()}, nil)
		return refused(err)
	case !errors.Is(err, control.ErrNobody) || q.named():
		return notThere(err)
	}
	err = silence.Remove(ctx, q.app.silences(), id, author(), time.Now())
	if errors.Is(err, silence.ErrUnknown) {
		return fmt.Errorf("there is no silence %d in force", id) //nolint:err113 // for people
	}
	return forbidden(err)
}

// author names the user of this command, as a watcher would.
func author() string { return control.Author(uint32(os.Geteuid()), os.Getpid(), invoker()) }
