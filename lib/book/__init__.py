"""What a page calls: parameters, records, figures, players, widgets."""
