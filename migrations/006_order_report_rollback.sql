-- Rollback: 006_order_report
-- Description: Removes the report
-- Author: Ada Kern
-- Date: 2025-03-24

DROP VIEW shop.open_orders;
