// Prints each value of a key as a line of JSON, by the event stream: watch.go URL KEY.
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var (
	since string
	retry = 100 * time.Millisecond
)

// Reads one stream, and says whether it came to the end of the key.
func stream(url string) bool {
	request, _ := http.NewRequest("GET", url, nil)
	request.Header.Set("Last-Event-ID", since)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return response.StatusCode == 204
	}
	event, data, id := "", "", since
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			event = value
		case "data":
			data = value
		case "id":
			id = value
		case "retry":
			ms, _ := strconv.Atoi(value)
			retry = time.Duration(ms) * time.Millisecond
		case "":
			if lines.Text() != "" {
				continue
			}
			if event == "end" {
				return true
			}
			if event == "value" {
				since = id
				fmt.Println(data)
			}
			event = ""
		}
	}
	return false
}

func main() {
	for !stream(os.Args[1] + "/status/events?key=" + os.Args[2]) {
		time.Sleep(retry)
	}
}
