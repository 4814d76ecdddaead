// Says for each file whether libcni takes it, and which plugins it names then.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func types(path string) (string, []string, error) {
	var list *libcni.NetworkConfigList
	var err error
	if strings.HasSuffix(path, ".conflist") {
		list, err = libcni.ConfListFromFile(path)
	} else {
		var conf *libcni.NetworkConfig
		if conf, err = libcni.ConfFromFile(path); err == nil {
			list, err = libcni.ConfListFromConf(conf)
		}
	}
	if err != nil {
		return "", nil, err
	}
	found := []string{}
	for _, plugin := range list.Plugins {
		found = append(found, plugin.Network.Type)
	}
	return list.Name, found, nil
}

func main() {
	for _, path := range os.Args[1:] {
		name, found, err := types(path)
		if err != nil {
			fmt.Println("refused")
		} else {
			fmt.Println(name + ":" + strings.Join(found, ","))
		}
	}
}
