package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/cmd/live"
)

// output is where a run's log and live block go.
type output struct {
	log    *zap.Logger
	screen *live.Screen // nil: no live block
	notice io.Writer    // for lines to the user that must not break the block
}

// newOutput makes the logger that the settings ask for, and the live block if stderr
// or stdout is a terminal that can show one.
func (a *App) newOutput(s config.Settings) *output {
	var screen *live.Screen
	logs, notice := a.Stderr, a.Stderr
	errSize, errTTY := a.Terminal(a.Stderr)
	outSize, outTTY := a.Terminal(a.Stdout)
	if canDraw(a.Environ) && !s.Quiet && s.LogFormat != "json" {
		switch {
		case errTTY:
			screen = live.NewScreen(a.Stderr, errSize)
			logs, notice = screen, screen
		case outTTY:
			screen = live.NewScreen(a.Stdout, outSize)
		}
	}
	level := zapcore.InfoLevel
	switch {
	case s.Quiet:
		level = zapcore.WarnLevel
	case s.Verbose:
		level = zapcore.DebugLevel
	}
	encoder := consoleEncoder()
	if s.LogFormat == "json" || s.LogFormat == "auto" && !errTTY {
		c := zap.NewProductionEncoderConfig()
		c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		c.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewJSONEncoder(c)
	}
	return &output{
		log:    zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(logs)), level)),
		screen: screen, notice: notice,
	}
}

// consoleEncoder prints "20:14:03 INFO  message  {fields}".
func consoleEncoder() zapcore.Encoder {
	c := zap.NewDevelopmentEncoderConfig()
	c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
	c.EncodeLevel = func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(fmt.Sprintf("%-5s", l.CapitalString()))
	}
	c.EncodeDuration = zapcore.StringDurationEncoder
	c.ConsoleSeparator = " "
	c.StacktraceKey = ""
	c.CallerKey = ""
	return zapcore.NewConsoleEncoder(c)
}

// canDraw says whether the environment names a terminal that moves its cursor.
func canDraw(environ []string) bool {
	return !slices.ContainsFunc(environ, func(e string) bool {
		return e == "TERM=dumb" || e == "TERM=" || strings.HasPrefix(e, "CI=true")
	})
}

func (o *output) close() {
	if o.screen != nil {
		o.screen.Close()
	}
	_ = o.log.Sync() // a terminal cannot be synced, and says so
}
