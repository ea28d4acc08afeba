"""What an observing program will give: visits, exposures, files and products."""
