// Package drover holds the words that every part of drover uses: Customer,
// Tenant, Source, Feed, Revision, Cursor, Place, Record, Gap and Error. It does
// no I/O and imports only the standard library, so every other package may
// import it.
//
// drover fetches Microsoft Defender alerts from many customer tenants and
// brings every revision of every alert to the sinks it is routed to. The
// promises are listed in docs/architecture.md.
package drover
