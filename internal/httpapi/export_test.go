package httpapi

// Routes are the paths of the server, each with its methods.
func Routes() map[string][]string {
	list := map[string][]string{}
	for path, m := range (&server{}).routes() {
		for method := range m {
			list[path] = append(list[path], method)
		}
	}
	return list
}
