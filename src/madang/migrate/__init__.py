"""The APIs of other libraries on our engine, for programs that come from there. One module for each library."""
