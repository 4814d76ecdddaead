// The CNI project's own library at work, as runtimes use it:
//
//	libcni validate|add|check|del CONFLIST CONTAINERID NETNS
//
// CNI_PATH, CNI_ARGS and CNI_IFNAME are as for plugins; CAP_ARGS is JSON by capability; CNI_CACHE
// is where results are kept. An error is printed as JSON, with the words around it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func pairs(text string) [][2]string {
	var found [][2]string
	for _, one := range strings.Split(text, ";") {
		if key, value, is := strings.Cut(one, "="); is {
			found = append(found, [2]string{key, value})
		}
	}
	return found
}

func run(verb, path, container, netns string) error {
	list, err := libcni.ConfListFromFile(path)
	if err != nil {
		return err
	}
	var capabilities map[string]interface{}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		if err := json.Unmarshal([]byte(text), &capabilities); err != nil {
			return err
		}
	}
	of := &libcni.RuntimeConf{
		ContainerID:    container,
		NetNS:          netns,
		IfName:         os.Getenv("CNI_IFNAME"),
		Args:           pairs(os.Getenv("CNI_ARGS")),
		CapabilityArgs: capabilities,
	}
	ctx := context.Background()
	directories := filepath.SplitList(os.Getenv("CNI_PATH"))
	cni := libcni.NewCNIConfigWithCacheDir(directories, os.Getenv("CNI_CACHE"), nil)
	switch verb {
	case "validate":
		_, err = cni.ValidateNetworkList(ctx, list)
	case "add":
		var result types.Result
		if result, err = cni.AddNetworkList(ctx, list, of); err == nil {
			err = result.PrintTo(os.Stdout)
		}
	case "check":
		err = cni.CheckNetworkList(ctx, list, of)
	case "del":
		err = cni.DelNetworkList(ctx, list, of)
	default:
		err = fmt.Errorf("%s is no verb", verb)
	}
	return err
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: libcni VERB CONFLIST CONTAINERID NETNS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		said := map[string]interface{}{"error": err.Error()}
		var plugin *types.Error
		if errors.As(err, &plugin) {
			said["code"], said["msg"], said["details"] = plugin.Code, plugin.Msg, plugin.Details
		}
		json.NewEncoder(os.Stdout).Encode(said)
		os.Exit(1)
	}
}
