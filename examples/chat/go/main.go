// The backend of the chat: login, webhook and announcements, with Go's standard library.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any
type list = []any

var api = http.Client{Timeout: 5 * time.Second}

func sign(secret []byte, text []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(text)
	return mac.Sum(nil)
}

func encoded(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// token returns a JWT for an hour; its owner is in the room `lobby` from the start.
func token(user string) string {
	now := time.Now().Unix()
	claims := object{"sub": user, "iat": now, "exp": now + 3600, "roomwire": object{"rooms": list{"lobby"}}}
	part := base64.RawURLEncoding.EncodeToString
	text := part(encoded(object{"alg": "HS256", "typ": "JWT"})) + "." + part(encoded(claims))
	return text + "." + part(sign([]byte(os.Getenv("CHAT_TOKEN_SECRET")), []byte(text)))
}

// isSigned returns whether the node sent this request, within the last five minutes.
func isSigned(header http.Header, body []byte) bool {
	sent := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if age := time.Now().Unix() - seconds; err != nil || age > 300 || age < -300 {
		return false
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("CHAT_WEBHOOK_SECRET"), "whsec_"))
	if err != nil {
		return false
	}
	signed := append([]byte(header.Get("webhook-id")+"."+sent+"."), body...)
	expected := "v1," + base64.StdEncoding.EncodeToString(sign(secret, signed))
	for _, given := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(expected), []byte(given)) {
			return true
		}
	}
	return false
}

type webhook struct {
	Type string
	Data struct {
		Socket  string
		User    string
		Event   string
		Args    list
		Session struct{ Rooms []string }
	}
}

func rejected(code, message string) object {
	return object{"error": object{"code": code, "message": message}}
}

func without(rooms []string, room string) []string {
	left := []string{}
	for _, other := range rooms {
		if other != room {
			left = append(left, other)
		}
	}
	return left
}

// onWebhook returns what the node does for an event of a client.
func onWebhook(request webhook) object {
	data := request.Data
	rooms := data.Session.Rooms
	if rooms == nil {
		rooms = []string{"lobby"}
	}
	tell := func(room, event string, args ...any) object {
		emit := object{"rooms": list{room}, "except": list{data.Socket}, "event": event, "args": append(list{room, data.User}, args...)}
		return object{"emit": emit}
	}
	if request.Type == "disconnect" {
		// The socket is gone, so there is nothing to decide; the others are told by the API.
		items := list{}
		for _, room := range rooms {
			items = append(items, tell(room, "left"))
		}
		if _, err := requestAPI("batch", object{"items": items}); err != nil {
			log.Print(err)
		}
		return object{}
	}
	args := append(data.Args, nil, nil)
	room, _ := args[0].(string)
	if len(room) < 1 || len(room) > 40 {
		return rejected("room_invalid", "a room has 1 to 40 characters")
	}
	done := list{object{"ok": true}}
	if data.Event == "join" {
		actions := list{object{"join": object{"rooms": list{room}}}, tell(room, "joined")}
		return object{"session": object{"rooms": append(without(rooms, room), room)}, "actions": actions, "ack": done}
	}
	if len(without(rooms, room)) == len(rooms) {
		return rejected("not_a_member", "join "+room+" first")
	}
	if data.Event == "leave" {
		actions := list{object{"leave": object{"rooms": list{room}}}, tell(room, "left")}
		return object{"session": object{"rooms": without(rooms, room)}, "actions": actions, "ack": done}
	}
	if data.Event == "typing" {
		typing := tell(room, "typing", args[1] == true)
		typing["emit"].(object)["volatile"] = true
		return object{"actions": list{typing}}
	}
	text, _ := args[1].(string)
	if data.Event != "message" || text == "" {
		return rejected("message_invalid", "a message is a text")
	}
	message := object{"rooms": list{room}, "event": "message", "args": list{room, data.User, text}}
	return object{"actions": list{object{"emit": message}}, "ack": done}
}

// requestAPI requests something of the node by itself.
func requestAPI(verb string, body object) (any, error) {
	request, err := http.NewRequest("POST", os.Getenv("CHAT_API")+"/"+verb, bytes.NewReader(encoded(body)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("CHAT_API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	response, err := api.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer any
	return answer, json.NewDecoder(response.Body).Decode(&answer)
}

func respond(writer http.ResponseWriter, answer any) {
	writer.Header().Set("Content-Type", "application/json")
	writer.Write(encoded(answer))
}

func main() {
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		http.ServeFile(writer, request, "../page.html")
	})
	http.HandleFunc("/login", func(writer http.ResponseWriter, request *http.Request) {
		var login struct{ Name string }
		if json.NewDecoder(request.Body).Decode(&login) != nil || login.Name == "" {
			http.Error(writer, "{}", http.StatusBadRequest)
			return
		}
		// A real login checks a password here.
		respond(writer, object{"token": token(login.Name)})
	})
	http.HandleFunc("/roomwire", func(writer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil || !isSigned(request.Header, body) {
			http.Error(writer, "{}", http.StatusUnauthorized)
			return
		}
		var content webhook
		if json.Unmarshal(body, &content) != nil {
			http.Error(writer, "{}", http.StatusBadRequest)
			return
		}
		respond(writer, onWebhook(content))
	})
	http.HandleFunc("/announce", func(writer http.ResponseWriter, request *http.Request) {
		var content struct{ Text string }
		if json.NewDecoder(request.Body).Decode(&content) != nil {
			http.Error(writer, "{}", http.StatusBadRequest)
			return
		}
		emit := object{"everybody": true, "event": "announcement", "args": list{content.Text}, "counts": true}
		answer, err := requestAPI("emit", emit)
		if err != nil {
			http.Error(writer, "{}", http.StatusBadGateway)
			return
		}
		respond(writer, answer)
	})
	address := "127.0.0.1:" + os.Getenv("CHAT_PORT")
	fmt.Println("open http://" + address + "/")
	log.Fatal(http.ListenAndServe(address, nil))
}
