package estate

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// specs lists the 48 evidence types of Graph alerts with their own members
// (reference graph-security §7). After a colon stands how a value is made:
// g GUID, h 40 hex, H 64 hex, n number, i int32, b bool, t time, s text,
// l list of text, 4 IPv4, u URL, m mail address, w host, o open object,
// A account, F file, S stream, L location, U users, E resource accesses,
// V machine in a cloud, P sender, ? null now and then, {a|b} one of, @type a
// nested evidence, [type] a list of them, which ends at the second level.
var specs = []string{
	"device mdeDeviceId:h azureAdDeviceId:g? deviceDnsName:w hostName:s dnsDomain:s? ntDomain:s? osPlatform:{Windows11|Windows10|macOS|Linux} osBuild:n version:{24H2|22H2} healthStatus:{active|inactive} riskScore:{none|low|medium|high} onboardingStatus:{onboarded} defenderAvStatus:{updated|unknown} firstSeenDateTime:t ipInterfaces:l lastIpAddress:4 lastExternalIpAddress:4? loggedOnUsers:U rbacGroupId:i rbacGroupName:s? resourceAccessEvents:E vmMetadata:V?",
	"user userAccount:A stream:S?",
	"file detectionStatus:{detected|blocked|prevented} mdeDeviceId:h? fileDetails:F",
	"process processId:n parentProcessId:n processCommandLine:s processCreationDateTime:t parentProcessCreationDateTime:t detectionStatus:{detected|blocked} mdeDeviceId:h imageFile:F parentProcessImageFile:F userAccount:A",
	"ip ipAddress:4 countryLetterCode:{US|DE|NL} location:L? stream:S?",
	"url url:u",
	"mailbox primaryAddress:m displayName:s upn:m userAccount:A",
	"mailboxConfiguration mailboxPrimaryAddress:m displayName:s upn:m configurationId:g configurationType:{mailForwardingRule|userInboxRule} externalDirectoryObjectId:g",
	"analyzedMessage networkMessageId:g internetMessageId:m subject:s language:{en|de} senderIp:4 recipientEmailAddress:m antiSpamDirection:{inbound} deliveryAction:{Delivered|Blocked} deliveryLocation:{Inbox|Quarantine} urn:s threats:l threatDetectionMethods:l urls:l urlCount:n attachmentsCount:n p1Sender:P p2Sender:P receivedDateTime:t",
	"mailCluster clusterBy:s clusterByValue:s emailCount:n networkMessageIds:l query:s urn:s",
	"submissionMail networkMessageId:g submissionId:g submitter:m submissionDateTime:t reportType:{Phish} recipient:m sender:m senderIp:4 subject:s",
	"teamsMessage campaignId:g channelId:g? groupId:g? threadId:s threadType:{chat} messageId:g parentMessageId:g? subject:s? senderFromAddress:m senderIP:4 recipients:l suspiciousRecipients:l isExternal:b isOwned:b owningTenantId:g deliveryAction:{delivered|blocked} deliveryLocation:s? messageDirection:{inbound} urls:[url] files:[file] receivedDateTime:t lastModifiedDateTime:t sourceAppName:s sourceId:s",
	"cloudApplication appId:n displayName:s instanceId:n instanceName:s saasAppId:n stream:S?",
	"oauthApplication appId:g objectId:g displayName:s publisher:s",
	"servicePrincipal appId:g appOwnerTenantId:g servicePrincipalName:s servicePrincipalObjectId:g servicePrincipalType:{application|managedIdentity} tenantId:g",
	"azureResource resourceId:s resourceName:s resourceType:s",
	"amazonResource amazonAccountId:n amazonResourceId:s resourceName:s resourceType:s",
	"googleCloudResource fullResourceName:s projectId:s projectNumber:n location:s locationType:{regional} resourceName:s resourceType:s",
	"registryKey registryHive:{HKEY_LOCAL_MACHINE} registryKey:s",
	"registryValue registryHive:{HKEY_CURRENT_USER} registryKey:s mdeDeviceId:h registryValue:s registryValueName:s registryValueType:{String}",
	"securityGroup securityGroupId:g displayName:s friendlyName:s distinguishedName:s sid:s activeDirectoryObjectGuid:g",
	"malware name:s category:s files:[file] processes:[process]",
	"networkConnection sourceAddress:@ip destinationAddress:@ip sourcePort:i destinationPort:i protocol:{tcp|udp}",
	"dns domainName:w ipAddresses:[ip] dnsServerIp:@ip hostIpAddress:@ip",
	"cloudLogonSession sessionId:g account:@user startUtcDateTime:t browser:s deviceName:s operatingSystem:s userAgent:s protocol:s previousLogonDateTime:t",
	"hostLogonSession sessionId:n account:@user host:@device startUtcDateTime:t endUtcDateTime:t?",
	"aiAgent agentId:g agentName:s instructions:s hostingPlatformType:{copilotStudio|azureAIFoundry}",
	"activeDirectoryDomain activeDirectoryDomainName:w trustedDomains:[activeDirectoryDomain]",
	"cloudLogonRequest requestId:g",
	"fileHash algorithm:{sha256|md5} value:H",
	"blobContainer name:s url:u storageResource:@azureResource",
	"blob name:s url:u etag:s blobContainer:@blobContainer fileHashes:[fileHash]",
	"sasToken allowedIpAddresses:4 allowedResourceTypes:l allowedServices:l permissions:l protocol:s signatureHash:H signedWith:s startDateTime:t expiryDateTime:t storageResource:@azureResource",
	"gitHubOrganization orgId:n login:s displayName:s company:s email:m webUrl:u",
	"gitHubRepo repoId:n baseUrl:u login:s owner:s ownerType:{User}",
	"gitHubUser userId:n login:s name:s email:m webUrl:u",
	"container containerId:h name:s image:@containerImage isPrivileged:b args:l command:l pod:@kubernetesPod",
	"containerImage imageId:s registry:@containerRegistry digestImage:@containerImage",
	"containerRegistry registry:w",
	"kubernetesCluster name:s distribution:s version:s platform:{aks|eks} cloudResource:@azureResource",
	"kubernetesNamespace name:s cluster:@kubernetesCluster labels:o",
	"kubernetesController name:s namespace:@kubernetesNamespace type:s labels:o",
	"kubernetesPod name:s namespace:@kubernetesNamespace controller:@kubernetesController serviceAccount:@kubernetesServiceAccount podIp:@ip containers:[container] initContainers:[container] ephemeralContainers:[container] labels:o",
	"kubernetesSecret name:s namespace:@kubernetesNamespace secretType:s",
	"kubernetesServiceAccount name:s namespace:@kubernetesNamespace",
	"kubernetesService name:s namespace:@kubernetesNamespace serviceType:{clusterIP} clusterIP:@ip externalIPs:[ip] servicePorts:[] selector:o labels:o",
	"ioTDevice deviceId:g deviceName:s deviceType:s deviceSubType:s devicePageLink:u manufacturer:s model:s serialNumber:s macAddress:s operatingSystem:s importance:{high|low} isAuthorized:b isProgramming:b isScanner:b purdueLayer:s sensor:s site:s zone:s source:s sourceRef:@url ioTHub:@azureResource ioTSecurityAgentId:g ipAddress:@ip nics:[nic] owners:l protocols:l",
	"nic macAddress:s ipAddress:@ip vlans:l",
}

var byType = func() map[string]string {
	m := make(map[string]string, len(specs))
	for _, s := range specs {
		name, rest, _ := strings.Cut(s, " ")
		m[name] = rest
	}
	return m
}()

// maker draws values.
type maker struct{ r *rand.Rand }

func (m maker) pick(list ...string) string { return list[m.r.IntN(len(list))] }

func (m maker) hex(n int) string {
	b := make([]byte, n/2)
	for i := range b {
		b[i] = byte(m.r.UintN(256))
	}
	return hex.EncodeToString(b)
}

func (m maker) guid() string {
	h := m.hex(32)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

var nouns = []string{"beacon", "ledger", "harbor", "anvil", "orchid", "quartz", "meadow", "cobalt", "lantern", "falcon", "Überwachung", "naïve", "東京", "emoji 🛰", "tab\\there", "quote \\\"x\\\"", "zero\\u200bwidth", "slash \\/ end"}

func (m maker) text(words int) string {
	parts := make([]string, words)
	for i := range parts {
		parts[i] = nouns[m.r.IntN(len(nouns))]
	}
	return strings.Join(parts, " ")
}

func (m maker) ip() string {
	return fmt.Sprintf("10.%d.%d.%d", m.r.IntN(256), m.r.IntN(256), m.r.IntN(256))
}

func (m maker) time() string {
	return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02d%sZ", 1+m.r.IntN(9), 1+m.r.IntN(28), m.r.IntN(24), m.r.IntN(60), m.r.IntN(60), m.pick("", ".5", ".29", ".116", ".1546", ".35743", ".160676", ".1133333", ".8839373"))
}

// evidence renders one piece. live is the value of a device's live address, a
// hole that may be filled anew with each read. Below the second level what is
// nested is null or an empty list: three types can hold themselves.
func (m maker) evidence(kind, live string, level int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"@odata.type":"#microsoft.graph.security.%sEvidence","createdDateTime":"%s","verdict":"%s","remediationStatus":"%s","remediationStatusDetails":null,"roles":[%s],"detailedRoles":[],"tags":[]`,
		kind, m.time(), m.pick("unknown", "suspicious", "malicious", "noThreatsFound"), m.pick("none", "remediated", "prevented", "active", "declined"), m.pick(``, `"contextual"`, `"attacked","source"`))
	for _, f := range strings.Fields(byType[kind]) {
		name, how, _ := strings.Cut(f, ":")
		v := m.value(how, level)
		if name == "lastIpAddress" && live != "" {
			v = live
		}
		fmt.Fprintf(&b, `,"%s":%s`, name, v)
	}
	b.WriteByte('}')
	return b.String()
}

const deepest = 2

func (m maker) value(how string, level int) string {
	if h, ok := strings.CutSuffix(how, "?"); ok {
		if m.r.IntN(3) == 0 {
			return "null"
		}
		how = h
	}
	if strings.HasPrefix(how, "{") {
		return `"` + m.pick(strings.Split(strings.Trim(how, "{}"), "|")...) + `"`
	}
	if kind, ok := strings.CutPrefix(how, "@"); ok {
		if level >= deepest {
			return "null"
		}
		return m.evidence(kind, "", level+1)
	}
	if kind := strings.Trim(how, "[]"); how[0] == '[' {
		if level >= deepest || kind == "" {
			return "[]"
		}
		return "[" + m.evidence(kind, "", level+1) + "]"
	}
	switch how {
	case "g":
		return `"` + m.guid() + `"`
	case "h":
		return `"` + m.hex(40) + `"`
	case "H":
		return `"` + m.hex(64) + `"`
	case "n":
		return fmt.Sprint(m.r.Int64N(1 << 62))
	case "i":
		return fmt.Sprint(m.r.IntN(65536))
	case "b":
		return m.pick("true", "false")
	case "t":
		return `"` + m.time() + `"`
	case "l":
		return `["` + m.text(1) + `","` + m.text(1) + `"]`
	case "4":
		return `"` + m.ip() + `"`
	case "u":
		return `"https://` + m.hex(6) + `.example/` + m.hex(8) + `?q=1&r=2"`
	case "m":
		return `"Someone <` + m.hex(6) + `@contoso.example>"`
	case "w":
		return `"ws-` + m.hex(4) + `.contoso.example"`
	case "A":
		return `{"accountName":"` + m.hex(6) + `","domainName":"CONTOSO","userSid":"S-1-5-21-` + fmt.Sprint(m.r.Uint32()) + `","azureAdUserId":"` + m.guid() + `","activeDirectoryObjectGuid":null,"userPrincipalName":"` + m.hex(6) + `@contoso.example","displayName":null,"tenantId":"` + m.guid() + `","resourceAccessEvents":[]}`
	case "F":
		return `{"fileName":"` + m.hex(6) + `.exe","filePath":"C:\\Users\\` + m.hex(4) + `\\AppData","fileSize":` + fmt.Sprint(m.r.IntN(1<<30)) + `,"filePublisher":null,"signer":null,"issuer":null,"md5":"` + m.hex(32) + `","sha1":"` + m.hex(40) + `","sha256":"` + m.hex(64) + `","sha256Ac":null}`
	case "S":
		return `{"name":"` + m.text(1) + `"}`
	case "L":
		return `{"city":"` + m.text(1) + `","state":null,"countryName":"Germany","latitude":52.520008,"longitude":-1.3e1}`
	case "U":
		return `[{"accountName":"` + m.hex(6) + `","domainName":"CONTOSO"},{"accountName":"system","domainName":"nt authority"}]`
	case "E":
		return `[{"accessDateTime":"` + m.time() + `","accountId":"` + m.guid() + `","ipAddress":"` + m.ip() + `","resourceIdentifier":"` + m.hex(8) + `"}]`
	case "V":
		return `{"cloudProvider":"azure","resourceId":"/subscriptions/` + m.guid() + `/x","subscriptionId":"` + m.guid() + `","vmId":"` + m.guid() + `"}`
	case "P":
		return `{"emailAddress":"Someone <` + m.hex(6) + `@contoso.example>","displayName":"` + m.text(1) + `","domainName":"contoso.example"}`
	case "o":
		return `{"app":"` + m.hex(4) + `","tier.x/y":"` + m.hex(3) + `"}`
	case "z":
		return "null"
	}
	return `"` + m.text(2+m.r.IntN(3)) + `"`
}
