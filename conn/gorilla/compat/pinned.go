package compat

// The SDKs whose tests cmd/sdks runs must stay in go.mod.
import (
	_ "github.com/adshao/go-binance/v2"
	_ "github.com/gorilla/websocket"
	_ "github.com/hirokisan/bybit/v2"
	_ "github.com/olahol/melody"
)
