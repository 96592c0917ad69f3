"""Other projects' files as models of this zoo, and this zoo's models as other projects' files."""
