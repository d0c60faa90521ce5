"""Pages on which a trader files by form: drafts, checks, signing, handing in."""
