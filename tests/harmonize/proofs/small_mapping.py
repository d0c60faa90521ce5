# ruff: noqa: E501 (tables and texts with long lines)
"""A mapping of two small documents that every proof passes, and ways to break it."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.harmonize.proofs import ProofFinding, ProofReport, check_bundle, make_fault_finding

G = "Declaration/GoodsShipment"
ITEM = f"{G}/GovernmentAgencyGoodsItem"
DOCUMENT = "agencies/ORG/PLANT.yaml"
SECOND = "agencies/ORG/SEED.yaml"
FILES = {
    "codelists.yaml": """lists:
  colour: {file: codelists/colour.csv, key: code, version: "1", source: ours}
  colourName: {file: codelists/colour.csv, key: code, to: name, direction: both, version: "1", source: ours}
  colourWord: {file: codelists/words.csv, key: code, to: name, direction: both, version: "1", source: ours}
  someColour: {file: codelists/some.csv, key: code, to: name, direction: forward, version: "1", source: ours}
  unitOut: {file: codelists/unit.csv, key: in, to: out, direction: both, version: "1", source: ours}
  money: {file: codelists/money.csv, key: code, version: "1", source: ours}
""",
    "codelists/colour.csv": "code,name\nR,red\nG,green\n",
    "codelists/words.csv": "code,name\nR,green\nG,red\n",
    "codelists/some.csv": "code,name\nR,red\n",
    "codelists/unit.csv": "in,out\nKGM,KG\nEA,EA\n",
    "codelists/money.csv": "code\nEUR\nUSD\n",
    "organisations.yaml": "organisations:\n  ORG: {kind: government, ko: 기관, en: Organisation}\n",
    "common.yaml": f"""dictionary: small
version: "1"
groups:
  container: {{path: {G}/Consignment/TransportEquipment, per: header}}
meanings:
  issued_at: {{path: Declaration/IssueDateTime, type: datetime, ko: 신고일, en: Issued}}
  importer.name: {{path: {G}/Importer/Name, type: text, max: 70, ko: 수입자, en: Importer}}
  payer.name: {{path: {G}/Payer/Name, type: text, max: 70, ko: 납세자, en: Payer}}
  hue: {{path: {G}/TransactionNatureCode, type: code, list: colour, ko: 거래, en: Nature}}
  container.id: {{path: {G}/Consignment/TransportEquipment/ID, per: container, type: text, max: 17, ko: 컨테이너, en: Container}}
  item.number: {{path: {ITEM}/SequenceNumeric, per: item, type: integer, max: 5, ko: 란, en: Item}}
  item.description: {{path: {ITEM}/Commodity/Description, per: item, type: text, max: 60, ko: 품명, en: Description}}
""",
    DOCUMENT: """document: PLANT
organisation: ORG
ko: 식물
en: Plant
direction: import
law: ["99"]
status: modelled
root: Request
withholds: unlisted
needs:
  mandatory: [issued_at, importer.name, item.number, item.description]
  optional: [hue, container.id]
asks:
  colour: {type: code, list: colour, req: M, per: application, means: plant.colour, ko: 색, en: Colour}
  remark: {type: text, max: 30, req: O, per: application, means: plant.remark, ko: 비고, en: Remark}
  risky: {type: boolean, req: M, per: item, means: plant.risky, ko: 위험, en: Risky}
  reason: {type: text, max: 20, req: {when: {risky: {is: "true"}}, otherwise: forbidden}, per: item, means: plant.reason, ko: 까닭, en: Reason}
  weight: {type: quantity, units: [KGM, EA], decimals: 3, req: M, per: item, means: plant.weight, ko: 무게, en: Weight}
  price: {type: amount, currencies: money, decimals: 3, req: M, per: item, means: plant.price, ko: 단가, en: Price}
  lot: {type: group, repeat: [0, 3], req: O, per: item, means: plant.lot, ko: 로트, en: Lot, fields: {
      tag: {type: id, max: 8, req: M, means: plant.lot.tag, ko: 번호, en: Tag}
  }}
puts:
  - Kind: {const: P1}
  - Day: {common: issued_at, form: CCYYMMDD}
  - ImporterName: {common: importer.name, limit: {octets: 140, charset: euc-kr}}
  - Hue: {common: hue}
  - Colour: {ask: colour}
  - Remark: {ask: remark}
  - Container:
      each: {common: container, bound: [0, 9]}
      puts:
        - ID: {common: container.id}
  - Item:
      each: {item: application.items, key: item.number, bound: [1, 999]}
      puts:
        - Number: {common: item.number}
        - Description: {common: item.description}
        - Risky: {ask: risky}
        - Risk:
            when: {risky: {is: "true"}}
            puts:
              - Reason: {ask: reason}
        - Weight: {ask: weight, unit: {to: "@unit", via: unitOut}}
        - Price: {ask: price, currency: "@money"}
        - Value: {multiply: [weight, price], digits: [12, 2], round: half_up}
        - Lot:
            each: {asked: lot, bound: [0, 3]}
            puts:
              - Tag: {ask: lot.tag}
reads:
  notices: []
""",
    SECOND: """document: SEED
organisation: ORG
ko: 종자
en: Seed
direction: import
law: ["98"]
status: modelled
root: Request
withholds: unlisted
needs:
  mandatory: [item.number]
  optional: [hue]
asks:
  variety: {type: text, max: 20, req: M, per: item, means: seed.variety, ko: 품종, en: Variety}
puts:
  - HueName: {common: hue, via: colourName}
  - Item:
      each: {item: application.items, key: item.number, bound: [1, 999]}
      puts:
        - Variety: {ask: variety}
reads:
  notices: []
""",
}


def write(target: Path, *changes: tuple[str, str, str]) -> Path:
    """Write the mapping below `target`; each change is a file, an old text in it, and a new one."""
    files = dict(FILES)
    for name, old, new in changes:
        text = files.get(name, "")
        assert text.count(old) >= 1, f"{old!r} is not in {name}"
        files[name] = text.replace(old, new, 1) if old else new
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return target


def plant(target: Path, *changes: tuple[str, str], more: tuple[tuple[str, str, str], ...] = ()) -> Path:
    """Write the mapping with changes (old text, new text) in its first document, and `more` elsewhere."""
    return write(target, *((DOCUMENT, old, new) for old, new in changes), *more)


def line_of(target: Path, text: str, name: str = DOCUMENT) -> int:
    """Return the line at which `text` stands first."""
    lines = (target / name).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def prove(folder: Path, samples: int = 0) -> ProofReport:
    """Return what the proofs say of a folder, with what keeps its documents from loading."""
    faults: list[GatewayError] = []
    bundle = load_bundle(folder, faults)
    return check_bundle(bundle, sample_count=samples, faults=[make_fault_finding(error) for error in faults])


def breaches(folder: Path, proof: str, samples: int = 0) -> list[ProofFinding]:
    """Return what breaks one proof."""
    report = prove(folder, samples)
    found = [finding for finding in report.findings if finding.proof == proof]
    assert report.verdicts[proof].ok == (not found)
    assert all(one.mark.file and one.field and one.message and one.counter_example for one in found)
    return found
