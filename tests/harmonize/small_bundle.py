# ruff: noqa: E501 (tables and texts with long lines)
"""A small mapping of our own invention that uses every primitive, and submissions for it."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from gateway.harmonize import MappingBundle, SplitResult, load_bundle, split_submission

G = "Declaration/GoodsShipment"
ITEM = f"{G}/GovernmentAgencyGoodsItem"
FILES = {
    "codelists.yaml": """lists:
  colour: {file: codelists/colour.csv, key: code, version: "1", source: ours}
  colourName: {file: codelists/colour.csv, key: code, to: name, direction: both, version: "1", source: ours}
  unitOut: {file: codelists/unit.csv, key: in, to: out, direction: both, version: "2", source: ours}
  money: {file: codelists/money.csv, key: code, version: "1", source: ours}
  place: {open: "[A-Z]{2}", version: "1", source: ours}
  placeName: {file: codelists/place.csv, key: code, to: name, direction: forward, version: "1", source: ours}
""",
    "codelists/colour.csv": "code,name\n090,orange\nNO,none\n1E3,grey\n",
    "codelists/unit.csv": "in,out\nKGM,KG\nEA,EA\n",
    "codelists/money.csv": "code\nEUR\nUSD\n",
    "codelists/place.csv": "code,name\nAA,Alpha\n",
    "organisations.yaml": """organisations:
  ORG: {kind: government, ko: 기관, en: Organisation}
""",
    "common.yaml": f"""dictionary: tiny
version: "1"
groups:
  container: {{path: {G}/Consignment/TransportEquipment, per: header}}
  seal: {{path: {G}/Consignment/TransportEquipment/Seal, per: container}}
meanings:
  issued_at: {{path: Declaration/IssueDateTime, type: datetime, ko: 신고일, en: Issued}}
  importer.name: {{path: {G}/Importer/Name, type: text, max: 70, ko: 수입자, en: Importer}}
  payer.name: {{path: {G}/Payer/Name, type: text, max: 70, ko: 납세자, en: Payer}}
  amount: {{path: Declaration/InvoiceAmount, type: amount, digits: [16, 3], ko: 금액, en: Amount}}
  bills: {{path: {G}/Consignment/TransportContractDocument/ID, type: text, max: 70, supplement: yes, many: yes, ko: 증권, en: Bills}}
  container.id: {{path: {G}/Consignment/TransportEquipment/ID, per: container, type: text, max: 17, ko: 컨테이너, en: Container}}
  seal.id: {{path: {G}/Consignment/TransportEquipment/Seal/ID, per: seal, type: text, max: 17, ko: 봉인, en: Seal}}
  previous: {{path: {G}/PreviousDocument/ID, first: yes, type: text, max: 70, ko: 이전, en: Previous}}
  item.number: {{path: {ITEM}/SequenceNumeric, per: item, type: integer, max: 5, ko: 란, en: Item}}
  item.hs: {{path: {ITEM}/Commodity/Classification/ID, per: item, type: text, max: 18, where: {{IdentificationTypeCode: [none, TSP, TRC]}}, join: yes, ko: 세번, en: HS}}
  item.licence: {{path: {ITEM}/AdditionalDocument/ID, per: item, type: text, max: 70, where: {{TypeCode: ["911"]}}, ko: 허가, en: Licence}}
  item.maker: {{path: {ITEM}/Manufacturer/Name, per: item, type: text, max: 70, supplement: yes, ko: 제조자, en: Maker}}
""",
    "agencies/ORG/TINY.yaml": """document: TINY
organisation: ORG
ko: 작은 문서
en: Tiny document
direction: import
law: ["99"]
status: modelled
root: Request
withholds: unlisted
needs:
  mandatory: [issued_at, importer.name, item.number, item.hs]
  optional: [amount, bills, container.id, seal.id, previous, item.maker]
  conditional:
    item.licence: {when: {risky: {is: "true"}}}
asks:
  colour: {type: code, list: colour, req: M, per: application, means: colour, ko: 색, en: Colour}
  place: {type: code, list: place, req: O, per: application, means: place, ko: 곳, en: Place}
  remark: {type: text, max: 200, req: O, per: application, means: remark, ko: 비고, en: Remark}
  note_long: {type: text, max: 30, req: O, per: application, means: note_long, ko: 긴글, en: Long note}
  meeting: {type: datetime, req: O, per: application, means: meeting, ko: 만남, en: Meeting}
  risky: {type: boolean, req: M, per: item, means: risky, ko: 위험, en: Risky}
  reason: {type: text, max: 20, req: {when: {risky: {is: "true"}}, otherwise: forbidden}, per: item, means: reason, ko: 까닭, en: Reason}
  weight: {type: quantity, units: [KGM, EA], decimals: 3, req: M, per: item, means: weight, ko: 무게, en: Weight}
  price: {type: amount, currencies: money, decimals: 3, req: M, per: item, means: price, ko: 단가, en: Price}
  photo: {type: attachment, mime: [image/png], max_mib: 1, req: O, per: item, means: photo, ko: 사진, en: Photo}
  animal: {type: group, repeat: [0, 3], req: O, per: item, means: animal, ko: 동물, en: Animal, fields: {
      tag: {type: id, max: 8, pattern: "[A-Z][0-9]{1,7}", req: M, means: animal.tag, ko: 번호, en: Tag},
      share: {type: measure, unit: P1, range: [0, 100], req: O, means: animal.share, ko: 몫, en: Share},
      vaccination: {type: group, repeat: [0, 2], req: {when: {animal.tag: {in: [A1, A2]}}}, ko: 접종, en: Vaccination, fields: {
          on: {type: date, req: M, means: animal.vaccination.on, ko: 날, en: Day}
      }}
  }}
puts:
  - Kind: {const: T1}
  - Number: {hub: application_number, limit: {chars: 13, exact: yes}}
  - Function: {hub: function}
  - Day: {common: issued_at, form: CCYYMMDD}
  - Moment: {common: issued_at, form: CCYYMMDDHHMMSS, unknown_time: "000000"}
  - Meeting: {ask: meeting, form: CCYYMMDDHHMMSS}
  - Issued: {common: issued_at, form: iso}
  - Party/ID[@scheme=A]: {common: importer.name, limit: {octets: 20, charset: euc-kr}}
  - Party/ID[@scheme=B]: {ask: remark, limit: {octets: 12, charset: utf-8}}
  - Party/@colour: {ask: colour}
  - ColourName: {ask: colour, via: colourName}
  - PlaceName: {ask: place, via: placeName, unknown_code: omit}
  - "Long/{One,Two,Three}": {ask: note_long, split: {octets: 8, charset: euc-kr}}
  - Amount: {common: amount, currency: "@money", limit: {digits: [8, 2]}}
  - Bill: {common: bills, bound: [0, 3]}
  - Previous: {common: previous}
  - Container:
      each: {common: container, bound: [0, 9]}
      puts:
        - ID: {common: container.id}
        - Seal:
            each: {common: seal, bound: [0, 9]}
            puts:
              - ID: {common: seal.id}
              - Position: {index: seal}
  - Items: {count: items}
  - Line:
      each: {item: application.items, key: item.number, bound: [1, 999]}
      puts:
        - ID: {serial: T%03d, from: item.number}
        - HS: {common: item.hs, form: digits10}
        - Licence: {common: item.licence}
        - Maker: {common: item.maker}
        - Risk:
            when: {risky: {is: "true"}}
            puts:
              - Reason: {ask: reason}
              - Flag: {ask: risky}
        - Sure: {ask: risky, when: {not: {risky: {is: "true"}}}}
        - Weight: {ask: weight, unit: {to: "@unit", via: unitOut}}
        - Price: {ask: price}
        - Value: {multiply: [weight, price], digits: [12, 2], round: half_up, currency: "@money"}
        - Photo: {ask: photo, cid: "@cid"}
        - Animal:
            each: {asked: animal, bound: [0, 3]}
            puts:
              - No: {index: animal}
              - Tag: {ask: animal.tag}
              - Share: {ask: animal.share, unit: "@unit"}
              - Vaccination:
                  each: {asked: animal.vaccination, bound: [0, 2]}
                  puts:
                    - Day: {ask: animal.vaccination.on, form: CCYYMMDD}
checks:
  - {id: shares, per: item, sum: {ask: animal.share}, at_most: "100", ko: 몫 초과, en: Shares exceed 100}
  - {id: total, per: application, sum: {multiply: [weight, price]}, at_most: amount, when_same: currency, ko: 초과, en: Lines exceed the amount}
reads:
  notices: []
""",
}
NUMBERS = {"A1": {"application_number": "N000000000001"}}
DECLARATION = """<wco:Declaration xmlns:wco="urn:wco:datamodel:WCO:DEC-DMS:2" xmlns="urn:wco:datamodel:WCO:DEC-DMS:2">
  <IssueDateTime><d:DateTimeString xmlns:d="urn:wco:datamodel:WCO:Declaration_DS:DMS:2" formatCode="304">20261120093015Z</d:DateTimeString></IssueDateTime>
  <InvoiceAmount currencyID="EUR">100.50</InvoiceAmount>
  <GoodsShipment>
    <Consignment>
      <TransportEquipment><SequenceNumeric>1</SequenceNumeric><ID>CONT1</ID>
        <Seal><SequenceNumeric>1</SequenceNumeric><ID>S1</ID></Seal><Seal><SequenceNumeric>2</SequenceNumeric><ID>S2</ID></Seal>
      </TransportEquipment>
      <TransportEquipment><SequenceNumeric>2</SequenceNumeric><ID>CONT2</ID></TransportEquipment>
    </Consignment>
    <GovernmentAgencyGoodsItem>
      <SequenceNumeric>1</SequenceNumeric>
      <AdditionalDocument><ID>L-911</ID><TypeCode>911</TypeCode></AdditionalDocument>
      <AdditionalDocument><ID>L-740</ID><TypeCode>740</TypeCode></AdditionalDocument>
      <Commodity>
        <Classification><ID>90</ID><IdentificationTypeCode>TRC</IdentificationTypeCode></Classification>
        <Classification><ID>30041010</ID><IdentificationTypeCode>TSP</IdentificationTypeCode></Classification>
        <Classification><ID>4711</ID><IdentificationTypeCode>GN</IdentificationTypeCode></Classification>
      </Commodity>
    </GovernmentAgencyGoodsItem>
    <GovernmentAgencyGoodsItem>
      <SequenceNumeric>2</SequenceNumeric>
      <Commodity><Classification><ID>0601101000</ID></Classification></Commodity>
    </GovernmentAgencyGoodsItem>
    <Importer><Name>한빛무역</Name></Importer>
    <PreviousDocument><ID>P1</ID></PreviousDocument>
    <PreviousDocument><ID>P2</ID></PreviousDocument>
  </GoodsShipment>
</wco:Declaration>"""
FIELDS = """<t:Colour>090</t:Colour><t:Place>AA</t:Place><t:NoteLong>가나다라마</t:NoteLong>
<t:Item sequence="1"><t:Risky>true</t:Risky><t:Reason>sharp</t:Reason><t:Weight unitCode="KGM">2.125</t:Weight>
<t:Price currencyID="EUR">3.333</t:Price>
<t:Animal><t:Tag>A1</t:Tag><t:Share>40</t:Share><t:Vaccination><t:On>2026-01-02</t:On></t:Vaccination></t:Animal>
<t:Animal><t:Tag>B7</t:Tag><t:Share unitCode="P1">60</t:Share></t:Animal></t:Item>"""
SUPPLEMENT = f"""<Value path="{G}/Consignment/TransportContractDocument/ID" wcoID="D023" n="2">BL-2</Value>
<Value path="{G}/Consignment/TransportContractDocument/ID" wcoID="D023" n="1">BL-1</Value>
<Value path="{ITEM}/Manufacturer/Name" wcoID="R042" item="1">Maker One</Value>
<Value path="{ITEM}/Manufacturer/Name" wcoID="R042" item="2">Maker Two</Value>"""


def submission(
    fields: str = FIELDS, items: str = "1", declaration: str = DECLARATION, supplement: str = SUPPLEMENT
) -> etree._Element:
    """Return a submission with one application of the small document."""
    return etree.fromstring(
        f"""<Submission xmlns="urn:single-window:submission:1" version="1"><Reference>R</Reference><Function>9</Function>
{declaration}<Supplement>{supplement}</Supplement><Application id="A1" document="TINY"><Items>{items}</Items>
<Fields xmlns:t="urn:single-window:document:tiny:1">{fields}</Fields>
<Attachment cid="p@x" mediaType="image/png" sha256="{"0" * 64}" size="10"/>
<Attachment cid="big@x" mediaType="image/gif" sha256="{"0" * 64}" size="99999999"/></Application></Submission>"""
    )


def write(target: Path, **changes: tuple[str, str]) -> Path:
    """Write the small mapping below `target`; a change is (old text, new text) in the file of that name."""
    names = {"document": "agencies/ORG/TINY.yaml", "common": "common.yaml", "codelists": "codelists.yaml"}
    files = dict(FILES)
    for key, (old, new) in changes.items():
        name = names.get(key, key)
        assert files[name].count(old) >= 1, f"{old!r} is not in {name}"
        files[name] = files[name].replace(old, new, 1)
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return target


def mapping(target: Path, **changes: tuple[str, str]) -> MappingBundle:
    """Return the small mapping, changed."""
    return load_bundle(write(target, **changes))


def apply(bundle: MappingBundle, root: etree._Element) -> SplitResult:
    """Split a submission of the small document."""
    return split_submission(root, bundle, NUMBERS)


def text(result: SplitResult, path: str) -> list[str]:
    """Return the texts (or attribute values) at `path` in the one request."""
    (request,) = result.requests
    spaces = {"t": "urn:single-window:document:tiny:1"}
    steps = [step if step.startswith("@") else f"t:{step}" for step in path.split("/")]
    found = request.xml.xpath("/".join(steps), namespaces=spaces)
    return [one if isinstance(one, str) else (one.text or "") for one in found]
