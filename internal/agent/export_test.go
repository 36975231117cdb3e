package agent

// HandedOver is how many connections had to be left to net/http.
func (a *Agent) HandedOver() int64 { return a.http.HandedOver() }
