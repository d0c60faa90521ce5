from .filing_pages import build_filing_pages as build_filing_pages
