// What @phala/dcap-qvl says: reads cases as JSON from stdin, writes one verdict for each.
const { QuoteVerifier } = require('@phala/dcap-qvl');
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const bytes = (hex) => Buffer.from(hex, 'hex');
const verdicts = cases.map(({ quote, collateral, root, at }) => {
  try {
    const verifier = root ? QuoteVerifier.newWithRootCa(bytes(root)) : QuoteVerifier.newProd();
    const report = verifier.verify(bytes(quote), collateral, at);
    return [report.status, report.advisory_ids];
  } catch (error) {
    return error.message;
  }
});
process.stdout.write(JSON.stringify(verdicts));
