// Command pulumi-resource-hcloud is Pulumi's provider plugin for Hetzner Cloud: the Terraform provider, bridged.
//
// Upstream ships the same bridge with documentation and generated SDKs. A running engine needs neither, so the package
// schema here has only a name and a version, and the table that says which half of the provider (SDK v2 or plugin
// framework) serves which resource is computed at start instead of by a generator at build time.
package main

import (
	"context"
	"encoding/json"
	"log"

	"github.com/hetznercloud/terraform-provider-hcloud/hcloud"
	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/x/muxer"
	"github.com/pulumi/pulumi-terraform-bridge/v3/unstable/metadata"
)

// version is that of the pulumi-hcloud SDK whose calls this plugin answers; set by the linker.
var version = "0.0.0-dev"

// dispatcher is the part of the muxed provider that assigns each resource to its half; the bridge keeps the type itself
// internal.
type dispatcher interface {
	ResolveDispatch(info *tfbridge.ProviderInfo) (muxer.DispatchTable, error)
}

func provider(ctx context.Context) (tfbridge.ProviderInfo, error) {
	info := tfbridge.ProviderInfo{
		P:            pf.MuxShimWithPF(ctx, shimv2.NewProvider(hcloud.Provider()), hcloud.NewPluginProvider()),
		Name:         "hcloud",
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata(nil),
	}
	if err := info.ComputeTokens(tokens.SingleModule("hcloud_", "index", tokens.MakeStandard("hcloud"))); err != nil {
		return info, err
	}
	info.SetAutonaming(255, "-")
	table, err := info.P.(dispatcher).ResolveDispatch(&info)
	if err != nil {
		return info, err
	}
	return info, metadata.Set(info.GetMetadata(), "mux", table)
}

func main() {
	ctx := context.Background()
	info, err := provider(ctx)
	if err != nil {
		log.Fatalf("hcloud provider: %v", err)
	}
	schema, err := json.Marshal(map[string]string{"name": "hcloud", "version": version})
	if err != nil {
		log.Fatalf("hcloud provider: schema: %v", err)
	}
	pf.MainWithMuxer(ctx, "hcloud", info, schema)
}
