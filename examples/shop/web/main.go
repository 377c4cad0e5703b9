// Command web is the web server of a shop: it takes orders and enqueues what is to be
// done about them. It has no worker, and compiles no actor library.
//
//	STORE=redis://localhost:6379 go run ./examples/shop/web
//	STORE=sqlite:shop.db go run ./examples/shop/web
//	curl -d order=7 -d email=ada@example.com localhost:8080/orders
package main

import (
	"cmp"
	"errors"
	"log"
	"net/http"
	"os"

	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/redis"  // knows redis: URLs
	_ "github.com/caddis-go/caddis/backend/sqlite" // knows sqlite: URLs, such as sqlite:shop.db
	"github.com/caddis-go/caddis/examples/shop/orders"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	store, err := backend.Open(cmp.Or(os.Getenv("STORE"), "redis://localhost:6379"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	shop, err := newShop(store)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(cmp.Or(os.Getenv("ADDR"), "localhost:8080"), shop))
}

func newShop(store backend.Backend) (http.Handler, error) {
	registry := jobs.NewRegistry()
	orders.Declare(registry)
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		order := r.PostFormValue("order")
		_, err := client.Enqueue(r.Context(), orders.Confirm{OrderID: order, Email: r.PostFormValue("email")},
			jobs.ID("confirm-"+order)) // sent again by an impatient customer, it is one job
		switch {
		case errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrFull):
			http.Error(w, "please try again", http.StatusServiceUnavailable)
		case errors.Is(err, backend.ErrRejected):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case errors.Is(err, jobs.ErrFinished):
			http.Error(w, "the confirmation could not be sent", http.StatusConflict)
		case err != nil:
			http.Error(w, "something went wrong", http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	return mux, nil
}
