package boot_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
)

// alarm is one of infra/observability.yaml, as far as it says what it looks at.
type alarm struct {
	Namespace          string `yaml:"Namespace"`
	MetricName         string `yaml:"MetricName"`
	ComparisonOperator string `yaml:"ComparisonOperator"`
	TreatMissingData   string `yaml:"TreatMissingData"`
	Dimensions         []struct {
		Name  string `yaml:"Name"`
		Value string `yaml:"Value"`
	} `yaml:"Dimensions"`
}

func readAlarm(t testing.TB, name string) alarm {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "infra", "observability.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var stack struct {
		Resources map[string]struct {
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &stack); err != nil {
		t.Fatal(err)
	}
	var a alarm
	properties := stack.Resources[name].Properties
	if err := properties.Decode(&a); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

// kept runs the schedule, and returns how often the metric was written that the alarm HouseNotKept looks at.
func (s *stack) kept(ok bool) (times int) {
	s.t.Helper()
	before := len(s.logs.String())
	if _, err := s.invoke("cluster", []byte(`{"source":"aws.events"}`)); (err == nil) != ok {
		s.t.Errorf("the schedule: %v", err)
	}
	missed := readAlarm(s.t, "HouseNotKept")
	for text := range strings.Lines(s.logs.String()[before:]) {
		var l line
		var members map[string]any
		if err := json.Unmarshal([]byte(text), &members); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		for _, d := range l.AWS.CloudWatchMetrics {
			var names []string
			for _, dimension := range missed.Dimensions {
				names = append(names, dimension.Name)
			}
			if d.Namespace != missed.Namespace || d.Metrics[0].Name != missed.MetricName || len(d.Dimensions) != 1 || !slices.Equal(d.Dimensions[0], names) {
				continue
			}
			if members["FunctionName"] != "keyturn" || members[missed.MetricName] != float64(1) || l.AWS.Timestamp != s.clock.now().UnixMilli() {
				s.t.Errorf("%s", text)
			}
			times++
		}
	}
	return times
}

// unsteady is a store behind which another can be put.
type unsteady struct{ authority.Store }

// Requests to the same function say nothing of the schedule. A run that fails is as silent as one that does not happen,
// and silence is what the alarm hears.
func TestTick_TheAlarmMissesARunThatFails(t *testing.T) {
	t.Parallel()
	missed := readAlarm(t, "HouseNotKept")
	if missed.ComparisonOperator != "LessThanThreshold" || missed.TreatMissingData != "breaching" {
		t.Errorf("silence is no alarm: %+v", missed)
	}
	if len(missed.Dimensions) != 1 || missed.Dimensions[0].Name != "FunctionName" || missed.Dimensions[0].Value != "ClusterFunction" {
		t.Errorf("another stack would end it: %+v", missed.Dimensions)
	}
	whole := openBolt(t)
	store := &unsteady{whole}
	s := newStack(t, store)
	if n := s.kept(true); n != 1 {
		t.Errorf("before there is a cluster: %d", n)
	}
	s.bootstrap()
	before := len(s.logs.String())
	s.call("GET", "/v1/cluster/identity", "", "")
	if text := s.logs.String()[before:]; !strings.Contains(text, `"function":"cluster"`) || strings.Contains(text, missed.MetricName) {
		t.Errorf("a request: %s", text)
	}
	for _, method := range []string{"Heads", "Claim"} {
		s.clock.advance(time.Minute)
		faulty := storetest.Faulty(whole, storetest.Fault{Method: method, Call: 1})
		store.Store = faulty
		if n := s.kept(false); n != 0 || faulty.Fired() == 0 {
			t.Errorf("where %s fails: %d", method, n)
		}
		store.Store = whole
		s.clock.advance(time.Minute)
		if n := s.kept(true); n != 1 {
			t.Errorf("after %s failed: %d", method, n)
		}
	}
}
