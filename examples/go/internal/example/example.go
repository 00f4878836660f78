// Package example has what the examples share: the cluster, and an end that says why when something is not as it should be.
package example

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/slotkv/slotkv/examples/go/slotkv"
)

// Connect gives a client of the cluster that the command line names, or of the one on this machine.
func Connect(options slotkv.Options) *slotkv.Client {
	log.SetFlags(0)
	uri := "slotkv://127.0.0.1:7700"
	if len(os.Args) > 1 {
		uri = os.Args[1]
	}
	client, err := slotkv.Connect(context.Background(), uri, options)
	Must(err)
	return client
}

// Must ends the program if a call failed.
func Must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

// Expect ends the program if something is not so.
func Expect(isSo bool, format string, values ...any) {
	if !isSo {
		log.Output(2, "not so: "+fmt.Sprintf(format, values...))
		os.Exit(1)
	}
}
