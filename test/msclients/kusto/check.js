// Reads a KQL query from standard input and prints what Microsoft's language
// service has against it, one finding a line. The table is as docs/manifests.md
// says: a time, and the dynamic column drover.
require('@kusto/language-service-next/bridge.min');
require('@kusto/language-service-next/Kusto.Language.Bridge.min');
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;
const tables = new (System.Collections.Generic.List$1(Symbols.Symbol).ctor)();
tables.add(Symbols.TableSymbol.From('(TimeGenerated: datetime, drover: dynamic)').WithName('Drover_CL'));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1('workspace', tables));
const query = require('fs').readFileSync(0, 'utf8');
const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
for (let i = 0; i < found.Count; i++) {
  const d = found.getItem(i);
  console.log(`${d.Severity} ${d.Code}: ${d.Message} at ${JSON.stringify(query.substr(d.Start, d.Length))}`);
}
