// Whether a history of one register is linearizable, by porcupine: an oracle that others wrote.
//
// The register is a tenant's home at the arbiter, of which the term is read: it only grows, so each read sees at
// least what any read before it saw, whichever region was asked. Moves are made by people and by lapsed leases, so no
// client knows when one was made; a move that a client waited for is an operation that raised the term.
//
// In: one JSON object a line, {"client", "call", "return", "term", "moved"}, times in nanoseconds. Out: ok or illegal.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type step struct {
	Client int   `json:"client"`
	Call   int64 `json:"call"`
	Return int64 `json:"return"`
	Term   int64 `json:"term"`
	Moved  bool  `json:"moved"`
}

func main() {
	model := porcupine.Model{
		Init: func() interface{} { return int64(0) },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			known, term := state.(int64), output.(int64)
			if input.(bool) {
				return term > known, term
			}
			return term >= known, term
		},
	}
	var history []porcupine.Operation
	lines := json.NewDecoder(os.Stdin)
	for lines.More() {
		var one step
		if err := lines.Decode(&one); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		history = append(history, porcupine.Operation{
			ClientId: one.Client, Input: one.Moved, Call: one.Call, Output: one.Term, Return: one.Return,
		})
	}
	switch porcupine.CheckOperationsTimeout(model, history, time.Minute) {
	case porcupine.Ok:
		fmt.Println("ok", len(history))
	case porcupine.Illegal:
		fmt.Println("illegal")
		os.Exit(1)
	default:
		fmt.Println("unknown")
		os.Exit(3)
	}
}
