package main

import "drover/internal/entra"

// adminCenter is where a cloud's directory is managed (reference entra-oauth
// §1).
func adminCenter(c entra.Cloud) string {
	switch c.Authority {
	case "https://login.microsoftonline.us":
		return "https://entra.microsoft.us"
	case "https://login.partner.microsoftonline.cn":
		return "https://entra.microsoftonline.cn"
	}
	return "https://entra.microsoft.com"
}
