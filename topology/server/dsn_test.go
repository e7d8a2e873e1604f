package server

import "testing"

func TestParseDSN(t *testing.T) {
	for _, dsn := range []string{
		"host=h port=5433 dbname=d keepalives=1 keepalives_idle=2 keepalives_interval=1 keepalives_count=3 tcp_user_timeout=5000 application_name=a",
		"postgres://h:5433/d?keepalives=1&tcp_user_timeout=5000&application_name=a&gssencmode=disable",
	} {
		cfg, err := ParseDSN(dsn)
		if err != nil || cfg.Host != "h" || cfg.Port != 5433 || cfg.Database != "d" || len(cfg.RuntimeParams) != 1 || cfg.RuntimeParams["application_name"] != "a" {
			t.Errorf("%s: %+v, %v", dsn, cfg, err)
		}
	}
	if _, err := ParseDSN("host=h port=many"); err == nil {
		t.Error("a wrong port was taken")
	}
}
