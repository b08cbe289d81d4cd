package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/ovh/okms-sdk-go/types"
)

// dated checks that a text is a date of the last hour.
func dated(what, text string) {
	at, err := time.Parse(time.RFC3339, text)
	holds(what+": a date of now", err == nil && time.Since(at).Abs() < time.Hour)
}

type (
	short   = types.SecretV2MetadataShort
	payload = types.SecretV2VersionShort
	change  = types.PutSecretV2Request
)

// secretsV2 are those of the service's own interface.
func secretsV2(s *session) {
	configuration(s)
	const path = "v2/app/db"
	content := data{"user": "u", "word": "one", "deep": data{"list": []any{1.0, "x"}}}
	create := func(path string, content data, metadata *short) answer[*types.PostSecretV2Response] {
		return of(s.PostSecretV2(ctx, s.domain, types.PostSecretV2Request{Path: path, Version: payload{Data: &content}, Metadata: metadata}))
	}
	custom := types.SecretV2CustomMetadata{"owner": "me"}
	made := create(path, content, &short{MaxVersions: p(uint32(40)), CustomMetadata: &custom, DeactivateVersionAfter: p("30d")}).must("create")
	same("create: path", value("path", made.Path), path)
	said := value("create: metadata", made.Metadata)
	dated("create: created", value("created", said.CreatedAt))
	dated("create: updated", value("updated", said.UpdatedAt))
	same("create: versions", [2]uint32{value("current", said.CurrentVersion), value("oldest", said.OldestVersion)}, [2]uint32{1, 0})
	same("create: settings", [2]any{value("cas", said.CasRequired), value("max", said.MaxVersions)}, [2]any{false, uint32(40)})
	same("create: ends", value("ends", said.DeactivateVersionAfter), "30d")
	same("create: custom metadata", value("custom", said.CustomMetadata), custom)
	create(path, content, nil).refused("create twice", 409, conflict)
	create("v2/a b", content, nil).refused("create at a path that is none", 400, badArgument)

	read := func(path string, version *uint32, data *bool) *types.GetSecretV2Response {
		shown := of(s.GetSecretV2(ctx, s.domain, path, version, data)).must("read")
		same("read: path", value("path", shown.Path), path)
		value("read: metadata", shown.Metadata)
		dated("read", value("read: version", shown.Version).CreatedAt)
		return shown
	}
	with := read(path, nil, p(true))
	same("read", value("data", with.Version.Data), content)
	same("read: version", [2]any{with.Version.Id, with.Version.State}, [2]any{uint32(1), types.SecretV2StateActive})
	holds("read, nothing said of data", read(path, nil, nil).Version.Data == nil)
	holds("read without data", read(path, nil, p(false)).Version.Data == nil)
	of(s.GetSecretV2(ctx, s.domain, "v2/nothing", nil, nil)).refused("read nothing", 404, secretNotFound)
	of(s.GetSecretV2(ctx, s.domain, path, p(uint32(9)), nil)).refused("read a number that there is not", 404, versionNotFound)
	same("by the other interface", s.one(path, nil).must("by the other interface"), content)
	shown := of(s.GetSecretRequest(ctx, s.domain, path, nil)).must("by the other interface")
	holds("by the other interface: it has an end", value("end", shown.Data.Metadata.DeletionTime) != "")

	put := func(cas *uint32, body change) answer[*types.PutSecretV2Response] {
		return of(s.PutSecretV2(ctx, s.domain, path, cas, body))
	}
	two := data{"word": "two"}
	changed := put(p(uint32(1)), change{Version: &payload{Data: &two}}).must("put")
	same("put: current", value("current", value("metadata", changed.Metadata).CurrentVersion), uint32(2))
	same("put", value("data", read(path, nil, p(true)).Version.Data), two)
	same("put: the first is there", value("data", read(path, p(uint32(1)), p(true)).Version.Data), content)
	put(p(uint32(1)), change{Version: &payload{Data: &two}}).refused("put on another version", 400, casMismatch)
	put(nil, change{}).refused("put nothing", 400, badArgument)
	owner := types.SecretV2CustomMetadata{"owner": "you"}
	settings := put(nil, change{Metadata: &short{CasRequired: p(true), CustomMetadata: &owner}}).must("put metadata")
	kept := value("metadata", settings.Metadata)
	same("put metadata: no version", value("current", kept.CurrentVersion), uint32(2))
	same("put metadata: the rest stays", [3]any{*kept.CasRequired, *kept.MaxVersions, *kept.DeactivateVersionAfter}, [3]any{true, uint32(40), "30d"})
	same("put metadata: custom", value("custom", kept.CustomMetadata), owner)
	put(nil, change{Version: &payload{Data: &two}}).refused("put needs check-and-set", 400, casRequired)
	put(p(uint32(2)), change{Metadata: &short{CasRequired: p(false)}}).must("put metadata back")
	of(s.PutSecretV2(ctx, s.domain, "v2/nothing", nil, change{Metadata: &short{}})).refused("put at nothing", 404, secretNotFound)

	kept = value("metadata", put(p(uint32(2)), change{Metadata: &short{}}).must("put no metadata").Metadata)
	same("put no metadata: all stays", kept.CustomMetadata, &owner)

	versionsV2(s, path)
	pages(s, path)

	done("delete", s.DeleteSecretV2(ctx, s.domain, path))
	of(s.GetSecretV2(ctx, s.domain, path, nil, nil)).refused("deleted", 404, secretNotFound)
	refused("delete twice", s.DeleteSecretV2(ctx, s.domain, path), 404, secretNotFound)
	of(s.ListSecretVersionV2(ctx, s.domain, path, nil, nil)).refused("versions of what is deleted", 404, secretNotFound)

	// Paths that look like ways of the interface.
	for _, path := range []string{"v2/app/version", "v2/app/version/1", "v2/data:x/metadata"} {
		mine := data{"at": path}
		create(path, mine, nil).must(path)
		same(path, value(path, read(path, nil, p(true)).Version.Data), mine)
		same(path+", other interface", s.one(path, nil).must(path), mine)
	}
	// As long as a path and its data may be, and longer.
	long := strings.Repeat("p", 255)
	most := data{"large": strings.Repeat("x", 65536-len(`{"large":""}`))}
	create(long, most, nil).must("the longest path, the most data")
	same("the most data", len((*read(long, nil, p(true)).Version.Data)["large"].(string)), len(most["large"].(string)))
	create(long+"p", data{}, nil).refused("a path of 256", 400, badArgument)
	more := data{"large": most["large"].(string) + "x"}
	create("v2/more", more, nil).refused("more data than there may be", 400, badArgument)
	of(s.PostSecretRequest(ctx, s.domain, "v2/more", types.PostSecretRequest{Data: more})).refused("more data, by the other interface", 400, badArgument)
	many := types.SecretV2CustomMetadata{}
	for at := range 64 {
		many[fmt.Sprintf("entry-%d", at)] = strings.Repeat("m", 512)
	}
	kept = value("metadata", create("v2/metadata", data{}, &short{CustomMetadata: &many}).must("the most metadata").Metadata)
	same("the most metadata", value("custom", kept.CustomMetadata), many)
	many["one-more"] = "x"
	create("v2/metadata/more", data{}, &short{CustomMetadata: &many}).refused("more metadata than there may be", 400, badArgument)
	// Nothing is left, of neither interface.
	for each, err := range s.ListAllSecrets(s.domain, nil).Iter(ctx) {
		done("delete what is left", s.DeleteSecretV2(ctx, s.domain, *of(each, err).must("what is left").Path))
	}
	same("secrets that are left", len(of(s.ListSecretV2(ctx, s.domain, nil, nil)).must("nothing is left").ListSecretV2Response), 0)
	of(s.GetSecretsMetadata(ctx, s.domain, "", true)).refused("names that are left", 404, secretNotFound)
}

// configuration of all secrets, which the other interface has too.
func configuration(s *session) {
	type shown = types.GetSecretConfigV2Response
	type change = types.PutSecretConfigV2Request
	answered := func(a *types.PutSecretConfigV2Response) *shown {
		return &shown{CasRequired: a.CasRequired, DeactivateVersionAfter: a.DeactivateVersionAfter, MaxVersions: a.MaxVersions}
	}
	first := of(s.GetSecretConfigV2(ctx, s.domain)).must("configuration")
	same("configuration: kept", value("kept", first.MaxVersions), uint32(10))
	put := func(to change) answer[*types.PutSecretConfigV2Response] {
		return of(s.PutSecretConfigV2(ctx, s.domain, to))
	}
	wanted := &shown{CasRequired: p(true), MaxVersions: p(uint32(20)), DeactivateVersionAfter: p("10d")}
	after := put(change{CasRequired: p(true), DeactivateVersionAfter: p("10d"), MaxVersions: p(uint32(20))}).must("configure")
	same("configured", answered(after), wanted)
	same("configured, as it is shown", of(s.GetSecretConfigV2(ctx, s.domain)).must("configured"), wanted)
	byOther := of(s.GetSecretConfig(ctx, s.domain)).must("configured").Data
	same("configured, by the other interface", byOther, &config{CasRequired: p(true), DeleteVersionAfter: p("10d"), MaxVersions: p(uint32(20))})
	after = put(change{MaxVersions: p(uint32(15))}).must("configure one thing")
	wanted.MaxVersions = p(uint32(15))
	same("what is not given stays", answered(after), wanted)
	put(change{MaxVersions: p(uint32(24001))}).refused("more versions than there can be", 400, badArgument)
	put(change{CasRequired: p(false), DeactivateVersionAfter: p("0"), MaxVersions: p(uint32(10))}).must("configure back")
	same("configured back", value("check-and-set", of(s.GetSecretConfigV2(ctx, s.domain)).must("configured back").CasRequired), false)
}

// versionsV2 are made one by one and change their states.
func versionsV2(s *session, path string) {
	post := func(cas *uint32, content data) answer[*types.SecretV2Version] {
		return of(s.PostSecretVersionV2(ctx, s.domain, path, cas, types.PostSecretVersionV2Request{Data: &content}))
	}
	made := post(p(uint32(2)), data{"word": "three"}).must("post a version")
	same("post a version", [2]any{made.Id, made.State}, [2]any{uint32(3), types.SecretV2StateActive})
	dated("post a version", made.CreatedAt)
	post(p(uint32(2)), data{}).refused("post on another version", 400, casMismatch)
	none := types.PostSecretVersionV2Request{Data: &data{}}
	of(s.PostSecretVersionV2(ctx, s.domain, "v2/nothing", nil, none)).refused("post at nothing", 404, secretNotFound)
	read := func(number uint32, with *bool) *types.SecretV2Version {
		return of(s.GetSecretVersionV2(ctx, s.domain, path, number, with)).must("read a version")
	}
	same("read a version", value("data", read(3, p(true)).Data), data{"word": "three"})
	holds("read a version without data", read(3, p(false)).Data == nil && read(3, nil).Data == nil)
	of(s.GetSecretVersionV2(ctx, s.domain, path, 99, nil)).refused("read a version that there is not", 404, versionNotFound)

	set := func(number uint32, state types.SecretV2State) answer[*types.SecretV2Version] {
		return of(s.PutSecretVersionV2(ctx, s.domain, path, number, types.PutSecretVersionV2Request{State: state}))
	}
	off := set(3, types.SecretV2StateDeactivated).must("deactivate a version")
	same("deactivate a version", [2]any{off.Id, off.State}, [2]any{uint32(3), types.SecretV2StateDeactivated})
	dated("deactivate a version", value("deactivated", off.DeactivatedAt))
	same("deactivated", read(3, nil).State, types.SecretV2StateDeactivated)
	holds("deactivated, it shows nothing", read(3, p(true)).Data == nil)
	s.one(path, p(uint32(3))).refused("deactivated, by the other interface", 404, versionNotFound)
	same("activate a version", set(3, types.SecretV2StateActive).must("activate a version").State, types.SecretV2StateActive)
	same("activated", value("data", read(3, p(true)).Data), data{"word": "three"})
	same("delete a version", set(1, types.SecretV2StateDeleted).must("delete a version").State, types.SecretV2StateDeleted)
	same("deleted", read(1, nil).State, types.SecretV2StateDeleted)
	holds("deleted, it shows nothing", read(1, p(true)).Data == nil)
	set(1, types.SecretV2StateActive).refused("what is deleted does not come back", 409, versionDeleted)
	set(99, types.SecretV2StateActive).refused("state of a version that there is not", 404, versionNotFound)
	set(3, "asleep").refused("a state that there is not", 400, badArgument)
}

// pages of versions and of secrets, in the ways that the client has.
func pages(s *session, path string) {
	for number := uint32(4); number <= 25; number++ {
		content := data{"number": float64(number)}
		of(s.PostSecretVersionV2(ctx, s.domain, path, p(number-1), types.PostSecretVersionV2Request{Data: &content})).must("one more version")
	}
	size := uint32(10)
	var versions []types.SecretV2Version
	var cursor *string
	var lengths []int
	for {
		page := of(s.ListSecretVersionV2(ctx, s.domain, path, &size, cursor)).must("a page of versions")
		versions = append(versions, page.ListSecretVersionV2Response...)
		lengths = append(lengths, len(page.ListSecretVersionV2Response))
		if page.PageCursorNext == "" {
			break
		}
		cursor = &page.PageCursorNext
	}
	same("pages of versions", lengths, []int{10, 10, 5})
	known := map[uint32]bool{}
	for _, each := range versions {
		holds("each version is once in a list", !known[each.Id] && each.Id >= 1 && each.Id <= 25)
		known[each.Id] = true
		same("a version in a list is as it is", &each, of(s.GetSecretVersionV2(ctx, s.domain, path, each.Id, nil)).must("a version"))
	}
	var stepped, ranged []types.SecretV2Version
	steps := s.ListAllSecretVersions(s.domain, path, &size)
	for steps.Next(ctx) {
		stepped = append(stepped, *of(steps.Value()).must("a step"))
	}
	for each, err := range s.ListAllSecretVersions(s.domain, path, nil).Iter(ctx) {
		ranged = append(ranged, *of(each, err).must("one of a range"))
	}
	same("steps through versions", stepped, versions)
	same("a range of versions", ranged, versions)

	wanted := append(s.below("v1"), path)
	for at := range 23 {
		each := fmt.Sprintf("v2/page/%d", at)
		of(s.PostSecretV2(ctx, s.domain, types.PostSecretV2Request{Path: each, Version: payload{Data: &data{"at": each}}})).must(each)
		wanted = append(wanted, each)
	}
	sort.Strings(wanted)
	paths := func(pageSize uint32) (found []string) {
		var cursor *string
		for {
			page := of(s.ListSecretV2(ctx, s.domain, &pageSize, cursor)).must("a page of secrets")
			for _, each := range page.ListSecretV2Response {
				found = append(found, value("path", each.Path))
			}
			if page.PageCursorNext == "" {
				return found
			}
			same("a page of secrets is full", len(page.ListSecretV2Response), int(pageSize))
			cursor = &page.PageCursorNext
		}
	}
	listed := paths(10)
	var byStep, byRange []string
	secrets := s.ListAllSecrets(s.domain, &size)
	for secrets.Next(ctx) {
		byStep = append(byStep, *of(secrets.Value()).must("a step").Path)
	}
	for each, err := range s.ListAllSecrets(s.domain, p(uint32(100))).Iter(ctx) {
		secret := of(each, err).must("one of a range")
		value("a secret of a list: metadata", secret.Metadata)
		byRange = append(byRange, *secret.Path)
	}
	same("steps through secrets", byStep, listed)
	for _, found := range [][]string{listed, byRange, paths(100)} {
		sort.Strings(found)
		same("secrets", found, wanted)
	}
	of(s.ListSecretV2(ctx, s.domain, p(uint32(9)), nil)).refused("a page of 9 secrets", 400, badArgument)
	of(s.ListSecretV2(ctx, s.domain, nil, p("nonsense"))).refused("a cursor that leads nowhere", 400, badArgument)
	of(s.ListSecretVersionV2(ctx, s.domain, path, nil, p("nonsense"))).refused("a cursor of versions that leads nowhere", 400, badArgument)
	broken := s.ListAllSecrets(s.domain, p(uint32(1)))
	holds("an iterator of secrets goes to its error", broken.Next(ctx))
	of(broken.Value()).refused("an iterator of secrets says its error", 400, badArgument)
	brokenToo := s.ListAllSecretVersions(s.domain, "v2/nothing", nil)
	holds("an iterator of versions goes to its error", brokenToo.Next(ctx))
	of(brokenToo.Value()).refused("an iterator of versions says its error", 404, secretNotFound)
}

// below is every secret in a folder, by the names that the other interface lists; in a folder of more than 100 the names are known.
func (s *session) below(folder string) (found []string) {
	if folder == "v1/many" {
		for at := range 103 {
			found = append(found, fmt.Sprintf("v1/many/%03d", at))
		}
		return found
	}
	listed := of(s.GetSecretsMetadata(ctx, s.domain, folder, true)).must("names of " + folder)
	for _, name := range value("names of "+folder, value("names", listed.Data).Keys) {
		if name[len(name)-1] == '/' {
			found = append(found, s.below(folder+"/"+name[:len(name)-1])...)
		} else {
			found = append(found, folder+"/"+name)
		}
	}
	return found
}
