"""The importer: turns an inventory of documents and fields into a folder of mappings."""
